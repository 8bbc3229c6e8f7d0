__pmcred_ask_list() {
  emulate -L zsh
  setopt no_xtrace no_multibyte local_traps
  trap '' PIPE
  __pmcred_ask list 1
}

# The names of the profiles: from the daemon, else from the files.
__pmcred_profiles() {
  local _pmcred_answer
  local -a _pmcred_names
  if __pmcred_ask_list 2>/dev/null; then
    _pmcred_names=(${(M)${(f)_pmcred_answer}:#profile=*})
    _pmcred_names=(${_pmcred_names#profile=})
  else
    _pmcred_names=(${(f)"$(command pmcred shell-init --profiles </dev/null 2>/dev/null)"})
  fi
  _pmcred_names=(${(M)_pmcred_names:#[A-Za-z0-9]*})
  _pmcred_names=(${_pmcred_names:#*[^A-Za-z0-9._-]*})
  compadd "$@" -a _pmcred_names
}

# A command and its arguments, after --.
__pmcred_command() {
  local -i at=${words[(ie)--]}
  if (( at >= CURRENT )); then return 1; fi
  shift at words
  (( CURRENT -= at ))
  _normal
}

# What may follow each verb, made of the command line itself.
{{words}}

# As a file of $fpath this is the body of _pmcred, too.
if [[ ${funcstack[1]-} == _pmcred ]]; then
  _pmcred "$@"
elif (( ${+functions[compdef]} )); then
  compdef _pmcred pmcred
fi
