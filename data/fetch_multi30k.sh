#!/usr/bin/env bash
# usage: fetch_multi30k.sh [options]
#
# Fetches Multi30k, task 1, German and English, as six plain texts: train.de, train.en, val.de, val.en,
# test.de, test.en (test_2016_flickr). A text is accepted only if its SHA-256 agrees. What is in place
# is left alone; a download cut short is resumed, also by the next run.
#
#   --out DIR          where the texts go (default: multi30k, beside this script)
#   --mirror PLACE     asked before the public sources: an address (http, https, ftp) or a folder
#   --timeout SECONDS  how long a source may stay silent, or below 1 KiB/s (default 20)
#   --tries N          tries at each address (default 3)
#   --checksums FILE   what sha256sum writes (default: multi30k.sha256, beside this script)
#   --quiet            print only warnings and errors
#   --help             print this
#
# A mirror holds data/task1/raw/train.de.gz, train.de.gz or the plain train.de, and so on, a test as
# test_2016_flickr or test; or training.tar.gz and validation.tar.gz; or is itself a .tar.gz by address.
# MULTI30K_MIRROR stands in for --mirror, MULTI30K_SOURCES for the public sources: addresses with spaces
# between, each a folder of .gz files or a .tar.gz. http_proxy, https_proxy, no_proxy: as wget has them.
#
# exit status: 0 all texts are in place; 1 some are not; 2 wrong usage; 130 or 143 stopped by a signal
set -euo pipefail
export LC_ALL=C # download.sh reads wget's messages, so they have to be the untranslated ones
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

sources=${MULTI30K_SOURCES-$(sed '/^#/d' "$here/multi30k.sources")}
layouts="data/task1/raw/FILE.gz FILE.gz FILE training.tar.gz validation.tar.gz" # of a mirror
most=4194304 # bytes of a text; the longest, train.de, has 2110398
out=$here/multi30k mirror=${MULTI30K_MIRROR:-} checksums=$here/multi30k.sha256 timeout=20 tries=3
quiet='' bar='' held='' wget_pid='' todo='' missing='' made_out=''

say() { [ -n "$quiet" ] || printf '%s\n' "$*"; }
tell() { # ENGLISH CHINESE: what is said on a good day; warnings and errors are English, as everywhere
  case ${STEP_LLM_LANGUAGE-} in zh) say "$2" ;; *) say "$1" ;; esac
}
warn() { printf 'fetch_multi30k: %s\n' "$*" >&2; }
die() { warn "$1"; exit "${2:-1}"; } # MESSAGE [STATUS]
failed() { # SOURCE FILE, for the reason in $why
  printf '%s: %s\t%s\n' "$1" "$why" "$2" >>"$tmp/failures"
  [ "$next" = skip ] || say "$2: $1: $why" >&2
}
is_address() { [ "$1" != "${1#*://}" ]; }
size_of() { if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
sha256() { { sha256sum 2>/dev/null || shasum -a 256; } | cut -c 1-64; } # macOS has the second
wanted() { awk -v file="$1" '{ sub(/^\*/, "", $2) } $2 == file { print tolower($1); exit }' <"$checksums"; }
in_place() { [ -f "$out/$1" ] && [ "$(sha256 <"$out/$1")" = "$(wanted "$1")" ]; }

# No more than an archive of two texts has: what is packed can be a thousand times as long.
untarred() { gzip -cd <"$1" | head -c $((2 * most + 65536)); }

unpack() { # PATH FILE FROM, to standard output
  local name plain="[A-Za-z0-9._/]"
  case $3 in
  *.tar.gz)
    # Whoever packed it chose its names, so only a plain one, in whatever folder, goes back to tar: nothing
    # that it could take for an option or a pattern, or that a terminal would obey.
    name=$(untarred "$1" | tar -tf - | grep -E "^($plain($plain|[ -])*/|/)?$2\$" | tail -n 1 || true)
    [ -z "$name" ] || untarred "$1" | tar -xOf - -- "$name" | head -c $((most + 1)) | sed '${/^$/d;}'
    ;;
  *.gz) gzip -cdf <"$1" ;; # -f: what was unpacked on the way, by a server or a platform, passes unchanged
  *) cat <"$1" ;;
  esac
}

# download ADDRESS FILE
# shellcheck source-path=SCRIPTDIR
. "$here/download.sh"

# Takes FILE out of PATH, which came from FROM and is packed as its name says, and if the SHA-256 agrees puts
# it into its place. What is cut or broken is left to the sum to tell; head alone says that the disk is full.
accept() { # PATH FILE FROM
  local text=$tmp/text sum expected size
  unpack "$@" 2>/dev/null | head -c $((most + 1)) >"$text" || [ "${PIPESTATUS[1]}" = 0 ] ||
    die "cannot write $text: is the disk full?"
  sum=$(sha256 <"$text") expected=$(wanted "$2")
  if [ "$sum" = "$expected" ]; then
    [ ! -d "$out/$2" ] || die "$out/$2 is a folder; a text belongs there."
    mv -f "$text" "$out/$2" || die "cannot put $2 into $out."
    size=$(size_of "$out/$2")
    tell "$2: $size bytes from $3, the SHA-256 agrees" "$2：$size 字节，取自 $3，SHA-256 一致"
    return
  fi
  why="wrong bytes: the SHA-256 of the text is ${sum:0:16}..., expected ${expected:0:16}..."
  [ "$(size_of "$text")" -le "$most" ] || why="wrong bytes: more than $most of them"
  case $3 in *.tar.gz) [ -s "$text" ] || why="no $2 in the archive, or not a whole archive" ;; esac
  return 1
}

# An archive is downloaded once, and held: it may have one language as expected and the other not.
take() { # PLACE FILE, an address or a path
  local path=$1 source=$1
  next=''
  case ${1##*/}:$2 in training.tar.gz:val* | training.tar.gz:test* | validation.tar.gz:t*) return 1 ;; esac
  case $1 in *://*.tar.gz) ;; *://*) source=${1%/*} ;; esac
  [ "$held" != "$1" ] || path=$tmp/got
  if [ -f "$path" ]; then
    accept "$path" "$2" "$1" && return
  elif is_address "$1"; then
    download "$1" "$2" && return
  else
    absent="$absent, ${1#"$mirror"/}"
    return 1
  fi
  failed "$source" "$2"
  return 1
}

fetch() { # FILE
  local original=${1/#test./test_2016_flickr.} places absent='' place source
  places=${layouts//FILE/$original}
  [ "$original" = "$1" ] || places="$places ${layouts//FILE/$1}"
  for place in ${mirror:+$places}; do
    if take "$mirror/$place" "$1"; then
      place=${place/$original/FILE} place=${place/$1/FILE}
      case $mirror:$place in *://*:*FILE*) layouts=$place ;; esac # no other is asked from now on
      return
    fi
    case $next in slow | silent | skip) break ;; esac
  done
  why="holds none of${absent#,}"
  [ -d "$mirror" ] || why="no such folder (an address begins with http:// or https://)"
  [ -z "$absent" ] || failed "$mirror" "$1"
  [ -z "$mirror" ] || [ -z "$sources" ] || say "$1: not from the mirror; going on to the public sources" >&2
  for source in $sources; do
    case $source in *.tar.gz) ;; *) source=${source%/}/$original.gz ;; esac
    take "$source" "$1" && return
  done
  return 1
}

# OUT/.partial keeps the cut downloads, and a folder run.PID of what belongs to one run. Of several runs only
# one that began alone goes on with the kept downloads; the last to end well leaves nothing.
alone() {
  local run others=0
  for run in "$work"/run.*; do
    kill -0 "${run##*.}" 2>/dev/null || rm -rf "$run"
    [ ! -d "$run" ] || [ "$run" = "$tmp" ] || others=1
  done
  return "$others"
}

close_work() { # STATUS
  [ -z "$wget_pid" ] || kill "$wget_pid" 2>/dev/null || true
  rm -rf "$tmp"
  [ "$1" != 0 ] || ! alone || rm -rf "$work"/*.part "$work/lock" # the lock is an earlier version's
  rmdir "$work" ${made_out:+"$out"} 2>/dev/null || true
}

while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
  --quiet) quiet=yes && shift ;;
  --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  --out | --mirror | --timeout | --tries | --checksums)
    [ -n "${2-}" ] || die "$1 needs a value; see --help." 2
    printf -v "${1#--}" %s "$2"
    shift 2
    ;;
  *) die "unknown argument: $1; see --help." 2 ;;
  esac
done
for value in "$timeout" "$tries"; do
  case $value in *[!0-9]* | 0* | ?????*) die "--timeout and --tries are from 1 to 9999, not $value." 2 ;; esac
done
mirror=${mirror#file://} mirror=${mirror%/}
case $mirror in
http://*.tar.gz | https://*.tar.gz | ftp://*.tar.gz) sources="$mirror $sources" mirror='' ;;
http://* | https://* | ftp://*) ;;
*://*) die "a mirror is an address (http://, https://, ftp://) or a folder, not $mirror." 2 ;;
esac
for source in $sources; do
  is_address "$source" || die "MULTI30K_SOURCES holds addresses, not $source." 2
done
case $out in /*) ;; *) out=$PWD/$out ;; esac
[ -n "$(sha256 </dev/null)" ] || die "neither sha256sum nor shasum is installed."
for file in train.de train.en val.de val.en test.de test.en; do
  sum=$(wanted "$file" 2>/dev/null || true)
  [ ${#sum} = 64 ] || die "cannot read the checksums: no SHA-256 of $file in $checksums." 2
  in_place "$file" || todo="$todo $file"
done

if [ -n "$todo" ]; then
  wget='' # needed only where an address is asked
  if command -v wget >/dev/null; then wget=$(wget --version 2>&1 || true); fi
  knock=$((timeout < 10 ? timeout : 10)) # seconds; TCP has sent its first packet four times by then
  [ -n "$quiet" ] || [ ! -t 2 ] || bar="--show-progress --progress=bar:force:noscroll"
  [ -d "$out" ] || made_out=yes
  work=$out/.partial tmp=$out/.partial/run.$$ parts=$out/.partial
  trap 'close_work $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  why=$({ rm -rf "$tmp" && mkdir -p "$tmp" && : >"$tmp/failures"; } 2>&1) ||
    die "cannot make the folder $out, or not write in it: $why"
  alone || parts=$tmp
fi
for file in $todo; do
  fetch "$file" || in_place "$file" || missing="$missing $file"
done
if [ -n "$missing" ]; then
  warn "not fetched:$missing. Sources tried, and why each failed:"
  [ -s "$tmp/failures" ] || echo "  none: no mirror was given and the list of public sources is empty" >&2
  awk -F '\t' '
    !seen[$0]++ { if (!($1 in of)) order[++n] = $1; of[$1] = of[$1] " " $2 }
    END { for (i = 1; i <= n; i++) print "  " order[i] "  [" substr(of[order[i]], 2) "]" }
  ' "$tmp/failures" >&2
  die "a mirror helps where these cannot be reached (--mirror, an address or a folder): see --help."
fi
tell "Multi30k is in place in $out." "Multi30k 已经就绪，在 $out 中。"
