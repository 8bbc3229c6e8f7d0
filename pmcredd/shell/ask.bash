# A request to the daemon, for the function and for the completion. Leaves the answer in _pmcred_answer, which is the
# caller's. To be called in a subshell: <(...) changes $!. And not $(...), which drops the newlines from the end: without
# those it might be half an answer.
# $1: the request; $2: seconds. What a command would not be told, a variable of this shell alone, is told to nobody.
__pmcred_ask() {
  local _pmcred_at _pmcred_in _pmcred_tool
  for _pmcred_at in PMCRED_SOCKET XDG_RUNTIME_DIR PMCRED_STATE_DIR XDG_STATE_HOME HOME; do
    if [[ -v $_pmcred_at && ${!_pmcred_at@a} != *x* ]]; then return 1; fi
  done
  # Whoever is not mapped into a user namespace is nobody there, and looks like everybody else.
  if ((EUID == 65534)); then return 1; fi
  local -a _pmcred_places=(
    "${XDG_RUNTIME_DIR-}/pmcred/socket" "/run/user/$EUID/pmcred/socket"
    "${PMCRED_STATE_DIR:-${XDG_STATE_HOME:-${HOME-}/.local/state}/pmcred}/run/socket"
  )
  if [[ ${PMCRED_SOCKET-} ]]; then _pmcred_places=("$PMCRED_SOCKET"); fi
  for _pmcred_at in "${_pmcred_places[@]}"; do
    _pmcred_in=${_pmcred_at%/*}
    # No shell can ask who listens. Who has made the socket does, and in a directory of ours that is us.
    if [[ $_pmcred_at != /* || ! -d $_pmcred_in || -L $_pmcred_in || ! -O $_pmcred_in ]]; then continue; fi
    if [[ ! -S $_pmcred_at || ! -O $_pmcred_at ]]; then continue; fi
    # Another netcat than OpenBSD's knows no -N. To socat, some characters of a path mean something.
    for _pmcred_tool in nc socat; do
      if ! type -P "$_pmcred_tool" >/dev/null; then continue; fi
      if [[ $_pmcred_tool == socat && $_pmcred_at == *[!A-Za-z0-9\ /._-]* ]]; then continue; fi
      # A backslash, since bash looks for aliases once more each time. The longest answer has half so many characters.
      case $_pmcred_tool in
      nc) read -r -N 2200000 _pmcred_answer < <(\exec nc -N -w "$2" -U "$_pmcred_at" <<<"$1") ;;
      *) read -r -N 2200000 _pmcred_answer < <(\exec socat -t "$2" -T "$2" - "UNIX-CONNECT:$_pmcred_at" <<<"$1") ;;
      esac
      if ! wait "$!"; then continue; fi
      if [[ $_pmcred_answer == ok[$' \n']*$'\n\n' ]]; then return 0; fi
      break
    done
  done
  return 1
}
