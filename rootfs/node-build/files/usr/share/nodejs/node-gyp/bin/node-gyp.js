#!/usr/bin/node
// In place of the compiler's driver, which npm wants to know where it is: there is no compiler here.
process.stderr.write('node-gyp: the builder has no compiler: ask for a package that is JavaScript only\n');
process.exitCode = 1;
