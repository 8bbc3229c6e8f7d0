# A request to the daemon, for the function and for the completion. Leaves the answer in _pmcred_answer, which is the
# caller's, as are zsh's own options, no_multibyte, and a trap for PIPE: the daemon may hang up on us.
# $1: the request; $2: seconds. What a command would not be told, a variable of this shell alone, is told to
# nobody.
__pmcred_ask() {
  local _pmcred_at _pmcred_in _pmcred_piece REPLY
  local -a _pmcred_places
  local -A _pmcred_stat
  for _pmcred_at in PMCRED_SOCKET XDG_RUNTIME_DIR PMCRED_STATE_DIR XDG_STATE_HOME HOME; do
    if [[ -n ${(Pt)_pmcred_at} && ${(Pt)_pmcred_at} != *export* ]]; then return 1; fi
  done
  # Whoever is not mapped into a user namespace is nobody there, and looks like everybody else.
  if (( EUID == 65534 )); then return 1; fi
  _pmcred_places=(
    "${XDG_RUNTIME_DIR-}/pmcred/socket" "/run/user/$EUID/pmcred/socket"
    "${PMCRED_STATE_DIR:-${XDG_STATE_HOME:-${HOME-}/.local/state}/pmcred}/run/socket"
  )
  if [[ -n ${PMCRED_SOCKET-} ]]; then _pmcred_places=("$PMCRED_SOCKET"); fi
  for _pmcred_at in "${_pmcred_places[@]}"; do
    _pmcred_in=${_pmcred_at%/*}
    # No shell can ask who listens. Where only we can make a socket, we do.
    if [[ $_pmcred_at != /* || ! -S $_pmcred_at || ! -O $_pmcred_at ]]; then continue; fi
    builtin zstat -L -H _pmcred_stat -- "$_pmcred_in" || continue
    if (( _pmcred_stat[uid] != EUID || (_pmcred_stat[mode] & 8#170022) != 8#040000 )); then continue; fi
    builtin zsocket -- "$_pmcred_at" || continue
    _pmcred_answer=
    {
      builtin syswrite -o "$REPLY" -- "$1"$'\n' || continue
      while [[ ${_pmcred_answer[-2,-1]} != $'\n\n' ]] && builtin sysread -i "$REPLY" -t "$2" _pmcred_piece; do
        _pmcred_answer+=$_pmcred_piece
      done
    } always {
      exec {REPLY}>&-
    }
    if [[ $_pmcred_answer == ok[$' \n']*$'\n\n' ]]; then return 0; fi
  done
  return 1
}

# Where zsh was built without them, the command does it all.
zmodload -F zsh/stat b:zstat 2>/dev/null
zmodload -F zsh/system b:sysread b:syswrite 2>/dev/null
zmodload -F zsh/net/socket b:zsocket 2>/dev/null
