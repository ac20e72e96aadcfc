# Bash completion for fnctl(1): verbs, their options, and the names of functions, all asked from fnctl itself.

_fnctl_options()
{
    fnctl help "$1" 2>/dev/null | grep -oE -- '--[a-z-]+' | sort -u
}

# Those that can be built, or those that are there.
_fnctl_runtimes()
{
    if [[ $1 == build ]]; then
        fnctl new --list 2>/dev/null | awk 'NR > 1 { if (!NF) exit; if ($2 != "needs") print $1 }'
    else
        fnctl runtime ls 2>/dev/null | awk 'NR > 1 { print $1 }'
    fi
}

_fnctl()
{
    local cur=${COMP_WORDS[COMP_CWORD]} verb='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --socket | --profile | --cacert) ((i++)) ;;
            -*) ;;
            *) verb=${COMP_WORDS[i]}; break ;;
        esac
    done
    COMPREPLY=()
    if [[ -z $verb ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(fnctl help 2>/dev/null | awk '/^options/ { exit } /^  [a-z]/ { print $1 }') --socket --profile --version --help" -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_fnctl_options "$verb")" -- "$cur")
    else
        case $verb in
            new) mapfile -t COMPREPLY < <(compgen -W "$([[ ${COMP_WORDS[COMP_CWORD - 1]} != --runtime ]] || fnctl new --list 2>/dev/null | awk 'NR > 1 { if (!NF) exit; print $1 }')" -- "$cur") ;;
            run | deploy | import | build) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
            help) mapfile -t COMPREPLY < <(compgen -W "$(fnctl help 2>/dev/null | awk '/^options/ { exit } /^  [a-z]/ { print $1 }')" -- "$cur") ;;
            cert) mapfile -t COMPREPLY < <(compgen -W 'self-signed ls' -- "$cur") ;;
            config) mapfile -t COMPREPLY < <(compgen -W show -- "$cur") ;;
            secret) mapfile -t COMPREPLY < <(compgen -W "set ls rm" -- "$cur") ;;
            token) mapfile -t COMPREPLY < <(compgen -W "add ls rm" -- "$cur") ;;
            runtime)
                if ((COMP_CWORD == i + 1)); then
                    mapfile -t COMPREPLY < <(compgen -W "ls build put rm" -- "$cur")
                elif ((COMP_CWORD == i + 2)); then
                    mapfile -t COMPREPLY < <(compgen -W "$(_fnctl_runtimes "${COMP_WORDS[i + 1]}")" -- "$cur")
                else
                    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                fi ;;
            profile) mapfile -t COMPREPLY < <(compgen -W "ls use rm $(fnctl profile ls 2>/dev/null | awk 'NR > 1 { print $1 == "*" ? $2 : $1 }')" -- "$cur") ;;
            status | scale | start | stop | restart | logs | invoke | exec | shell | rm | remove | delete | plan | export)
                mapfile -t COMPREPLY < <(compgen -W "$(fnctl ls 2>/dev/null | awk 'NR > 1 { print $2 == "default" ? $1 : $1 "." $2 }')" -- "$cur") ;;
        esac
    fi
}

complete -o filenames -F _fnctl fnctl
