# A request to the daemon, for the function and for the completion. Leaves the answer and a dot in _pmcred_answer, which
# is the caller's: $(...) drops newlines from the end, and without the one that ends a block it might be half an answer.
# $1: the request; $2: seconds. What a command would not be told, a variable of this shell alone, is told to nobody.
__pmcred_ask() {
  local _pmcred_at _pmcred_in
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
    # In $(...) bash looks for aliases each time; a backslash is none.
    if type -P nc >/dev/null; then
      _pmcred_answer=$(\command nc -N -w "$2" -U "$_pmcred_at" <<<"$1" && \builtin printf .)
    fi
    # Another netcat than OpenBSD's knows no -N. To socat, some characters of a path mean something.
    if [[ ! $_pmcred_answer && $_pmcred_at != *[!A-Za-z0-9\ /._-]* ]] && type -P socat >/dev/null; then
      _pmcred_answer=$(\command socat -t "$2" -T "$2" - "UNIX-CONNECT:$_pmcred_at" <<<"$1" && \builtin printf .)
    fi
    if [[ $_pmcred_answer == ok[$' \n']*$'\n\n.' ]]; then return 0; fi
    _pmcred_answer=
  done
  return 1
}
