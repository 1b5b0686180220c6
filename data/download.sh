#!/usr/bin/env bash
# Sourced by fetch_multi30k.sh: one file from one address with GNU wget, watched; what a failure means; and how
# often to try again.
#
# It takes from there: $timeout, $knock, $tries, $most, $wget, $bar, the folders $tmp and $parts, and say, warn,
# die, size_of, accept. It leaves: $why and $next of the last failure, $wget_pid, and $held, the address of the
# archive in $tmp/got.
# shellcheck shell=bash disable=SC2034,SC2154 # variables of the script that sources this

# One run of wget, which leaves its exit status in $status. A watchdog stands beside it, as wget's time-out
# does not see a server that sends a byte now and then; 143 says that it ended the run.
one_try() { # ADDRESS PART HOST
  local since=$SECONDS before check
  check=$(cat "$tmp/check $3" 2>/dev/null || true) before=$(size_of "$2") status=0
  (
    # ulimit counts 512 bytes on some systems, 1024 on others: wget may write the limit, or twice as much.
    { trap '' XFSZ && ulimit -S -f $((most / 512)); } 2>/dev/null || true
    # shellcheck disable=SC2086 # $check and $bar are options or nothing
    cd "${2%/*}" && # so that wget's bar shows the name and no path
      exec wget --continue --tries=1 --timeout="$timeout" --connect-timeout="$knock" $check $bar \
        --output-file="$tmp/log" --output-document="${2##*/}" -- "$1"
  ) &
  wget_pid=$!
  while kill -0 "$wget_pid" 2>/dev/null; do
    sleep 0.05
    [ $((SECONDS - since)) -gt "$timeout" ] || continue
    [ $(($(size_of "$2") - before)) -ge $((1024 * timeout)) ] || kill "$wget_pid" 2>/dev/null || true
    since=$SECONDS before=$(size_of "$2")
  done
  wait "$wget_pid" 2>/dev/null || status=$?
  wget_pid=''
  [ "$status" != 3 ] || [ "$(size_of "$2")" -ge "$most" ] || die "cannot write $2: is the disk full?"
}

# What a failed try means, in $why, and what follows, in $next: retry, silent (the host is not asked again),
# slow (the one, then the other), restart (what is there cannot be continued) or nothing.
judge() { # HOST PART
  local log answer peer
  log=$(tr -cd '\n -~' <"$tmp/log" || true)
  # The last host that was asked for is a proxy where the environment says so.
  peer=${log##*Resolving } answer=${log##*Connecting to }
  [ "$answer" = "$log" ] || peer=$answer
  peer=${peer%%[ $'\n']*} peer=${peer%...}
  case "${http_proxy-} ${https_proxy-} ${ftp_proxy-}" in
  *"${peer:-nobody}"*) peer="the proxy $peer" ;;
  *) peer=$1 ;;
  esac
  answer=${log##*awaiting response... } answer=${answer%%$'\n'*} next=''
  [ "$status" != 143 ] || log="$log timed out"
  case $status:$log in
  0:*) why="an empty file" ;;
  3:*) why="wrong bytes: more than $most of them" next=restart ;;
  5:* | 4:*"establish SSL"*) why="no secure connection to $1" next=slow ;;
  8:*"response... "408* | 8:*"response... "429* | 8:*"response... "5*) why="HTTP $answer" next=retry ;;
  8:*"response... "*) why="HTTP $answer" ;;
  *"response... "[1-9]*"timed out"*) why="$1 was too slow or fell silent for $timeout s" next=slow ;;
  *"connected."*"timed out"*) why="$1 took the connection but did not answer within $timeout s" next=slow ;;
  4:*"connected."*) why="the download was cut off at $(size_of "$2") bytes" next=retry ;;
  *"unable to resolve"*) why="the name of $peer could not be resolved" next=silent ;;
  *"Connection refused"*) why="$peer refused the connection" next=silent ;;
  4:* | 143:*) why="no connection to $peer within $knock s" next=silent ;;
  *) why="wget failed with status $status: ${log##*$'\n'}" next=restart ;;
  esac
}

# Takes FILE from ADDRESS by way of a .part, going on from what that holds: it is named after the file there,
# so one source can go on where another was cut off.
download() { # ADDRESS FILE
  local host=${1#*://} name=${1##*/} part=$parts/${1##*/}.part try resumed
  host=${host%%/*} host=${host##*@} next=skip
  why=$(cat "$tmp/silent $host" 2>/dev/null) && return 1
  next='' why="GNU wget is not installed, and downloading needs it"
  [ -z "$wget" ] || why="wget does not start: ${wget##*$'\n'}"
  case $wget in *"GNU Wget"*) ;; *) return 1 ;; esac
  [ ! -L "$part" ] || rm -f "$part" # it would be written through
  for ((try = 1; try <= tries; try++)); do
    if [ -n "$next" ]; then
      [ "$next" != restart ] || why="$why; once more from the beginning"
      say "$name: $why; try $try of $tries" >&2
      sleep 1
    fi
    resumed=$(size_of "$part")
    one_try "$1" "$part" "$host"
    if [ "$status" = 5 ] && [ ! -e "$tmp/check $host" ]; then
      warn "the certificate of $host could not be verified; retrying without the check: the SHA-256 decides"
      echo --no-check-certificate >"$tmp/check $host"
      one_try "$1" "$part" "$host"
    fi
    if [ "$status" = 0 ] && [ -s "$part" ]; then
      mv -f "$part" "$tmp/got"
      held=$1
      [ "$resumed" = 0 ] || held=''
      accept "$tmp/got" "$2" "$1" && return
      next=restart
    else
      judge "$host" "$part"
    fi
    if [ ! -s "$part" ] || [ "$next" = restart ]; then rm -f "$part"; fi
    case $resumed:$next in
    *:retry | *:slow) ;;
    [1-9]*:restart) try=$((try - 1)) ;; # the kept part may be to blame; the try does not count
    *) break ;;
    esac
  done
  case $next in slow | silent) ;; *) return 1 ;; esac
  # A host that stayed silent, or dripped, through every try would do so for the next file.
  echo "$why" >"$tmp/silent $host"
  say "not asked again in this run: $host did not answer before" >&2
  return 1
}
