# Functions of OpenFaaS' templates: `class Handler` with a method run, called as the template's own index does. Facts: their documentation and their templates' behaviour.
#
# openfaas-classic  run(req), lang: ruby. There it is one process a call: what is printed is the answer, then what run returns, as puts writes it; the request is also in the environment (Http_Method, Http_Query,
#                   Http_X_Name ...). Here the process stays, so calls are made one at a time, each with a Handler of its own.
# openfaas-http     run(body, headers), lang: ruby-http: body is to be read from, headers are Rack's (HTTP_X_NAME, REQUEST_METHOD, QUERY_STRING ...); returns body, headers, status, of which the last two may be left out.

require 'stringio'

module FndShim
  module OpenFaas
    TAKES = { 'openfaas-classic' => ['req'], 'openfaas-http' => %w[body headers] }.freeze
    OTHER = { 1 => 'openfaas-classic (lang: ruby)', 2 => 'openfaas-http (lang: ruby-http)' }.freeze

    # As there, the directory above.
    def self.enter
      Dir.chdir('/home/app') if File.exist?('/home/app/function') && File.realpath('/home/app/function') == ROOT
    end

    def self.handler(text, file, name, said)
      unless Object.const_defined?(name) && Object.const_get(name).is_a?(Class) && Object.const_get(name).method_defined?(:run)
        FndShim.refuse("#{file}: has no class #{name} with a method run: handler = #{text} in function.ini names it")
      end
      found = Object.const_get(name)
      arity = found.instance_method(:run).arity
      said = arity == 2 ? 'openfaas-http' : 'openfaas-classic' if said.empty?
      given = TAKES[said]
      unless arity == given.size || (arity.negative? && -arity - 1 <= given.size)
        other = OTHER[arity] ? ": [env] HANDLER_CONTRACT is to be #{OTHER[arity]} for this one" : ''
        FndShim.refuse("#{file}: #{name}#run takes #{arity.negative? ? "#{-arity - 1} or more" : arity} arguments, and #{said} calls run(#{given.join(', ')})#{other}")
      end
      said == 'openfaas-http' ? Http.new(found) : Classic.new(found)
    end

    # Variables of one call, for the function and for programs that it starts. ENV[]= would be setenv(3), which keeps each value that there ever was, and clients choose these: putenv(3) takes a text that stays ours.
    class Told
      def initialize
        require 'fiddle'
        @putenv = Fiddle::Function.new(Fiddle.dlopen(nil)['putenv'], [Fiddle::TYPE_VOIDP], Fiddle::TYPE_INT)
        @lines = {}
      end

      def change(found)
        @lines.each_key { |name| ENV.delete(name) }
        @lines.each_value(&:call_free)
        @lines = found.to_h { |name, value| [name, put("#{name}=".b + value.b + "\0".b)] }
      end

      private

      def put(line)
        text = Fiddle::Pointer.malloc(line.bytesize, Fiddle::RUBY_FREE)
        text[0, line.bytesize] = line
        @putenv.call(text)
        text
      end
    end

    class Classic
      def initialize(found)
        @class, @told = found, Told.new
        return if FndShim.number('HANDLER_THREADS', 1, 256) == 1

        FndShim.refuse('[env] HANDLER_THREADS: openfaas-classic makes one call at a time, because the environment and what is printed are the call\'s: leave it out; [scale] max says how many instances there may be')
      end

      def name
        "#{@class.name}#run"
      end

      def invoke(conn)
        @told.change(variables(conn))
        kind = ENV['content_type'] || conn.fields['content-type'] || 'text/plain; charset=utf-8'
        { statusCode: 200, body: printed(conn.body.dup.force_encoding(Encoding::UTF_8)), headers: { 'Content-Type' => kind } }
      end

      private

      # What the classic watchdog tells of a request.
      def variables(conn)
        # No client names the proxy that a program is to use (https://httpoxy.org).
        found = conn.fields.except('proxy').to_h { |name, value| ["Http_#{name.split('-').map(&:capitalize).join('_')}", value] }
        length = conn.chunked? ? '-1' : conn.body.bytesize.to_s
        found.update('Http_Method' => conn.method, 'Http_Path' => conn.path.empty? ? '/' : conn.path, 'Http_ContentLength' => length, 'Http_Content_Length' => length)
        found['Http_Query'] = conn.query unless conn.query.to_s.empty?
        found.reject { |name, value| name.include?('=') || name.include?("\0") || value.include?("\0") }
      end

      # Standard output is a file while the call runs, that of programs which it starts too; one for each call, so that who goes on writing later is in nobody else's answer. At other times it is the log.
      def printed(body)
        File.open('/tmp', File::TMPFILE | File::RDWR, 0o600, binmode: true) do |file|
          good = false
          begin
            divert(file)
            run(body)
            good = true
          ensure
            divert($stderr)
            file.rewind
            text = file.read
            $stderr.write(text) unless good
          end
          text
        end
      end

      def divert(to)
        STDOUT.reopen(to)
        STDOUT.sync = true
        $stdout = STDOUT
      end

      def run(body)
        STDOUT.puts(@class.new.run(body))
      rescue SystemExit => e # the process of the call ended well, and what it printed was the answer
        raise unless e.success?
      end
    end

    class Http
      def initialize(found)
        @class = found
        @handler = found.new
      end

      def name
        "#{@class.name}#run"
      end

      def invoke(conn)
        env = environment(conn)
        body, headers, status = @handler.run(env['rack.input'], env)
        raise Wrong, "returned headers that are #{headers.class}: run returns body, headers, status" unless headers.nil? || headers.is_a?(Hash)

        headers = { 'Content-Type' => 'text/html;charset=utf-8' }.merge(headers || {}) unless headers&.keys&.any? { |k| k.to_s.casecmp?('content-type') }
        body = body.join if body.is_a?(Array) && body.all?(String)
        { statusCode: status || 200, body: body, headers: headers }
      end

      private

      # Rack's.
      def environment(conn)
        input = StringIO.new(conn.body)
        name, port = conn.fields['host'].to_s.split(':', 2)
        env = { 'REQUEST_METHOD' => conn.method, 'SCRIPT_NAME' => conn.fields['x-forwarded-prefix'].to_s.chomp('/'), 'PATH_INFO' => conn.path, 'REQUEST_PATH' => conn.path, 'QUERY_STRING' => conn.query.to_s,
                'REQUEST_URI' => [conn.path, conn.query].compact.join('?'), 'SERVER_NAME' => name || 'localhost', 'SERVER_PORT' => port || '80', 'SERVER_PROTOCOL' => 'HTTP/1.1', 'HTTP_VERSION' => 'HTTP/1.1',
                'REMOTE_ADDR' => conn.fields['x-forwarded-for'].to_s.split(',').first.to_s.strip, 'CONTENT_LENGTH' => conn.body.bytesize.to_s, 'rack.input' => input, 'rack.errors' => $stderr,
                'rack.url_scheme' => conn.fields['x-forwarded-proto'] || 'http', 'rack.version' => [1, 6], 'rack.multithread' => true, 'rack.multiprocess' => true, 'rack.run_once' => false }
        conn.fields.each do |field, value|
          next if field.include?('_') || field == 'content-length' # X_Name would be taken for X-Name

          env[field == 'content-type' ? 'CONTENT_TYPE' : "HTTP_#{field.upcase.tr('-', '_')}"] = value
        end
        env
      end
    end
  end
end
