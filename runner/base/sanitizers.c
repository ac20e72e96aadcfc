/*
 * sanitizers.c: what the programs tell the runtimes of MODE=asan and MODE=tsan, whatever is in the environment they are started with (the runner gives its children one of its own). Nothing in other modes; unit tests are
 * not linked with it, and look for leaks.
 */
#ifdef __SANITIZE_ADDRESS__
const char *__asan_default_options(void);

/* Leaks are found by ptrace, which the filters of the gateway and the jail do not have. What is freed is kept apart for less memory than the cgroups of tests have. */
const char *__asan_default_options(void)
{
    return "detect_leaks=0:quarantine_size_mb=8:abort_on_error=0";
}
#endif

#ifdef __SANITIZE_THREAD__
const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
    return "halt_on_error=1";
}
#endif

typedef int sanitizers_is_not_empty;
