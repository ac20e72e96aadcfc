# Loaded into Bundler: gems are unpacked, and their extensions are not built; fndext.rb does that.
require "rubygems/installer"

Gem::Installer.prepend(Module.new { def build_extensions; end })
