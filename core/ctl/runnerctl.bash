# bash completion for runnerctl: commands, options, sandbox ids                                  -*- shell-script -*-

_runnerctl_commands="create ls info start stop pause resume resize recover network rm exec put get log top pull images rmi version help"

# Options of a command.
_runnerctl_options() {
    local common="--socket --url --token-file --json --help"
    case $1 in
    create) echo "--snapshot --cpus --memory --disk --env --ssh-key --name --user --no-start --timings --allow --domains --block --open $common" ;;
    network) echo "--allow --domains --block --open $common" ;;
    ls) echo "--quiet $common" ;;
    start) echo "--timings $common" ;;
    stop | rm) echo "--all --force $common" ;;
    resize) echo "--cpus --memory --disk $common" ;;
    recover) echo "--disk-full $common" ;;
    exec) echo "--cwd --env --timeout $common" ;;
    put) echo "--mode $common" ;;
    log) echo "--follow --tail $common" ;;
    pull) echo "--server --username --password-file --tag $common" ;;
    top) echo "--once --interval $common" ;;
    "") echo "--version $common" ;;
    *) echo "$common" ;;
    esac
}

# Options whose value is the next word.
_runnerctl_takes_value() {
    case $1 in
    --socket | --url | --token-file | --snapshot | --cpus | --memory | --disk | --env | --ssh-key | --name | --user | \
        --cwd | --timeout | --mode | --tail | --interval | --allow | \
        --domains | --server | --username | --password-file | --tag) return 0 ;;
    esac
    return 1
}

_runnerctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command="" operands=0 i word
    local -a where=()

    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --socket | --url | --token-file)
            where+=("$word" "${COMP_WORDS[i + 1]}")
            i=$((i + 1))
            ;;
        -*) _runnerctl_takes_value "$word" && i=$((i + 1)) ;;
        *) if [ -z "$command" ]; then command=$word; else operands=$((operands + 1)); fi ;;
        esac
    done

    case $prev in
    --socket | --token-file | --ssh-key)
        COMPREPLY=($(compgen -f -- "$cur"))
        return
        ;;
    esac
    _runnerctl_takes_value "$prev" && return

    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$(_runnerctl_options "$command")" -- "$cur"))
        return
    fi
    case $command:$operands in
    :*) COMPREPLY=($(compgen -W "$_runnerctl_commands" -- "$cur")) ;;
    help:0) COMPREPLY=($(compgen -W "$_runnerctl_commands" -- "$cur")) ;;
    put:1 | get:2) COMPREPLY=($(compgen -f -- "$cur")) ;;
    info:* | start:* | stop:* | pause:* | resume:* | resize:* | recover:* | network:0 | rm:* | exec:0 | put:0 | get:0 | log:0)
        COMPREPLY=($(compgen -W "$(runnerctl "${where[@]}" ls --quiet 2>/dev/null)" -- "$cur"))
        ;;
    esac
}

complete -F _runnerctl runnerctl
