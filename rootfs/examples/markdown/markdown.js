// Markdown to HTML, what most texts need of it: headings, paragraphs, lists, quotes, code, rules, emphasis, links. HTML in the text stays text.
const escape = (s) => s.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
const safe = (url) => (/^(https?:|mailto:|[^:]*$)/i.test(url) ? url : '#');

function inline(text) {
    return text.split(/(`[^`]+`)/).map((part) => (/^`.+`$/.test(part) ? `<code>${escape(part.slice(1, -1))}</code>` : escape(part)
        .replace(/\[([^\]]+)\]\(([^()\s]+)\)/g, (all, label, url) => `<a href="${safe(url)}">${label}</a>`)
        .replace(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>').replace(/\*([^*]+)\*/g, '<em>$1</em>'))).join('');
}

function block(lines) {
    const heading = /^(#{1,6})\s+(.*)/.exec(lines[0]);
    if (heading && lines.length === 1)
        return `<h${heading[1].length}>${inline(heading[2])}</h${heading[1].length}>`;
    if (/^(-{3,}|\*{3,})$/.test(lines[0]) && lines.length === 1)
        return '<hr>';
    for (const [mark, tag] of [[/^[-*]\s+/, 'ul'], [/^\d+\.\s+/, 'ol']])
        if (lines.every((l) => mark.test(l)))
            return `<${tag}>\n${lines.map((l) => `<li>${inline(l.replace(mark, ''))}</li>`).join('\n')}\n</${tag}>`;
    if (lines.every((l) => l.startsWith('>')))
        return `<blockquote>${block(lines.map((l) => l.replace(/^>\s?/, '')))}</blockquote>`;
    return `<p>${inline(lines.join('\n'))}</p>`;
}

exports.main = (event) => {
    const out = [];
    // every second part stands between fences
    event.body.replace(/\r\n/g, '\n').split(/^```.*\n?/m).forEach((part, i) => {
        if (i % 2)
            out.push(`<pre><code>${escape(part)}</code></pre>`);
        else
            out.push(...part.replace(/^(#{1,6}\s.*)$/gm, '\n$1\n').split(/\n{2,}/).map((b) => b.trim()).filter(Boolean).map((b) => block(b.split('\n'))));
    });
    return { statusCode: 200, headers: { 'Content-Type': 'text/html; charset=utf-8' }, body: `${out.join('\n')}\n` };
};
