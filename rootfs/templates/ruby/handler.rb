# What is returned is the answer: a text, an Enumerator of texts, or { statusCode:, headers:, body: }.
def main(event, context)
  name = event.query['name'] || event.body.strip
  name = 'world' if name.empty?
  puts "greeting #{name}" # to the log: fnctl logs @NAME@
  { statusCode: 200, headers: { 'Content-Type' => 'text/plain; charset=utf-8' }, body: "Hello #{name}!\n" }
end
