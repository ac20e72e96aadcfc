# Builds the extensions of the gems in GEM_HOME, each after those that it depends on. What a failure looks like is Bundler's.
require "rubygems/ext"
require "shellwords"

specs = Dir["#{Gem.dir}/specifications/*.gemspec"].sort.filter_map { |path| Gem::Specification.load(path) }
names = specs.to_h { |s| [s.name, s] }
seen = {}
build = lambda do |spec|
  next if seen[spec.name]

  seen[spec.name] = true
  spec.runtime_dependencies.each { |d| build.call(names[d.name]) if names[d.name] }
  next if spec.extensions.empty?

  begin
    Gem::Ext::Builder.new(spec, Shellwords.split(ENV["BUNDLE_BUILD__#{spec.name.upcase.gsub("-", "___")}"].to_s)).build_extensions
  rescue Gem::Ext::BuildError, Gem::InstallError => e
    warn e.message, "An error occurred while installing #{spec.name} (#{spec.version}), and Bundler cannot continue."
    exit 1
  end
end
specs.each(&build)
