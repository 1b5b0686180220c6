#!/usr/bin/env bash
# Fetches Multi30k, task 1, German and English. What it does and how: --help, and README.md beside it.
set -euo pipefail
export LC_ALL=C # wget's messages are read below, so they have to be the untranslated ones
unset CDPATH

usage() {
  cat <<'EOF'
usage: fetch_multi30k.sh [options]

Fetches Multi30k, task 1, German and English, and leaves six plain texts:
    train.de train.en  val.de val.en  test.de test.en      (test is test_2016_flickr)

The sources are tried in turn, the mirror first. A file is accepted only if the
SHA-256 of its text agrees, whoever sent it, and takes its place by a rename.
Files already in place are left alone; a download cut short is resumed.

options:
  --out DIR          where the texts go (default: multi30k, beside this script)
  --mirror PLACE     a source to try before the public ones: an address
                     (http://, https://, ftp://) or a folder. See below.
  --timeout SECONDS  how long a source may stay silent (default 20). A source
                     slower than 1 KiB/s over that time counts as silent; one that
                     accepts no connection is given up after 10 s at most.
  --tries N          tries at each address (default 3)
  --checksums FILE   what to accept, in the format of sha256sum
                     (default: multi30k.sha256, beside this script)
  --quiet            print only warnings and errors
  --help             print this

environment:
  MULTI30K_MIRROR    the mirror, where --mirror is not given
  MULTI30K_SOURCES   replaces the built-in list of public sources: addresses
                     separated by spaces, each the folder of the six .gz files or
                     an archive (.tar.gz); empty: no public source at all
  http_proxy, https_proxy, no_proxy
                     as wget knows them

a mirror may hold, under its own names or with test in place of test_2016_flickr:
  PLACE/data/task1/raw/train.de.gz   the data set's own repository, or a copy of it
  PLACE/train.de.gz                  the same files in one folder
  PLACE/train.de                     plain texts, such as another run left in its DIR
  PLACE/training.tar.gz, PLACE/validation.tar.gz      (in a folder only)
or PLACE may be the address of one .tar.gz.

exit status: 0 all six files are in place; 1 some could not be fetched; 2 wrong usage;
130 or 143 stopped by a signal (the next run goes on from there).
EOF
}

readonly files="train.de train.en val.de val.en test.de test.en"
readonly slowest=1024     # bytes a second
readonly most=4194304     # bytes of a text; the longest, train.de, has 2110398
readonly longest_knock=10 # seconds; TCP has sent its first packet four times by then

# The .tar.gz hold the same training texts with one empty line more at the end (see accept). Their val.de is another
# text, so the SHA-256 refuses it and only val.en comes from there. The test archive of the same place
# (mmt16_task1_test.tar.gz) is not listed: its German side is an older preparation of the 2016 test, on which scores
# would not compare.
readonly public_sources="
  https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw
  https://cdn.jsdelivr.net/gh/multi30k/dataset@master/data/task1/raw
  https://raw.githubusercontent.com/neychev/small_DL_repo/master/datasets/Multi30k/training.tar.gz
  https://raw.githubusercontent.com/neychev/small_DL_repo/master/datasets/Multi30k/validation.tar.gz
  https://www.quest.dcs.shef.ac.uk/wmt16_files_mmt/training.tar.gz
  https://www.quest.dcs.shef.ac.uk/wmt16_files_mmt/validation.tar.gz
"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$here/multi30k
mirror=${MULTI30K_MIRROR:-}
checksums=$here/multi30k.sha256
timeout=20
tries=3
quiet=

why='' skipped='' # of the last failure: its reason, and whether the host was not even asked
mirror_layout='' # the layout in which the mirror gave a file; no other is asked for after that
complete='' locked='' made_out='' wget_pid=''

# ---------------------------------------------------------------------------------------------------- messages

say() { [ -n "$quiet" ] || printf '%s\n' "$*"; }
note() { [ -n "$quiet" ] || printf '%s\n' "$*" >&2; }
warn() { printf 'fetch_multi30k: %s\n' "$*" >&2; }
die() {
  warn "$*"
  exit 1
}
wrong_usage() {
  warn "$*"
  printf '%s\n' "fetch_multi30k.sh --help says how it is used." >&2
  exit 2
}

# Why each source failed is kept until the end: "source TAB reason TAB file", a line each.
failures=
failed() { # SOURCE FILE; the reason is in $why
  failures="$failures$1	$why	$2
"
  if [ -z "$skipped" ]; then note "$2: $1: $why"; fi
  skipped=
}

report() {
  warn "not fetched:$missing. Sources tried, and why each failed:"
  if [ -z "$failures" ]; then
    printf '  %s\n' "none: no mirror was given and the list of public sources is empty" >&2
    return
  fi
  printf '%s' "$failures" | awk -F '\t' '
    !(($1, $2) in of) { order[++n] = $1 SUBSEP $2 }
    { if (index(of[$1, $2] " ", " " $3 " ") == 0) of[$1, $2] = of[$1, $2] " " $3 }
    END {
      for (i = 1; i <= n; i++) {
        split(order[i], at, SUBSEP)
        print "  " at[1] ": " at[2] "  [" substr(of[order[i]], 2) "]"
      }
    }
  ' >&2
  warn "a mirror helps where these cannot be reached (--mirror, an address or a folder): see --help."
}

# -------------------------------------------------------------------------------------------- texts and their sums

if command -v sha256sum >/dev/null 2>&1; then
  sha256() { sha256sum <"$1" | cut -c 1-64; }
elif command -v shasum >/dev/null 2>&1; then # macOS
  sha256() { shasum -a 256 <"$1" | cut -c 1-64; }
else
  sha256() { return 1; }
fi

size_of() { if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }

wanted() { awk -v file="$1" '{ sub(/^\*/, "", $2) } $2 == file { print tolower($1); exit }' "$checksums"; }

agrees() { # TEXT FILE
  local want
  want=$(wanted "$2")
  sum=$(sha256 "$1")
  [ "$sum" = "$want" ]
}

in_place() { [ -f "$out/$1" ] && agrees "$out/$1" "$1"; }

# The name of a file in the data set's repository.
original_name() { case $1 in test.*) echo "test_2016_flickr.${1#test.}" ;; *) echo "$1" ;; esac; }

# Whoever packed an archive chose its names, so only a plain one goes back to tar: nothing that it could take for an
# option or a pattern, or that a terminal would obey.
in_archive() { # ARCHIVE FILE: the member of that name, in whatever folder
  untarred "$1" | tar -tf - 2>/dev/null | awk -v file="$2" '
    !/^[A-Za-z0-9._\/][A-Za-z0-9._\/ -]*$/ { next }
    { name = $0; sub(/.*\//, "", name) }
    name == file { last = $0 }
    END { print last }
  '
}

# No more than an archive of two texts has: what is packed can be a thousand times as long.
untarred() { gzip -cd <"$1" 2>/dev/null | head -c $((2 * most + 65536)); }

unpack() { # KIND PATH FILE, to standard output
  case $1 in
  # -f: what is not compressed after all, as when a server or a platform has unpacked it on the way, passes unchanged.
  gz) gzip -cdf <"$2" ;;
  plain) cat <"$2" ;;
  tar) untarred "$2" | tar -xOf - -- "$(in_archive "$2" "$3")" ;; # a path with a colon would be another host to tar
  esac
}

ends_in_empty_line() { [ "$(tail -c 2 "$1" | od -An -tx1 | tr -d ' \n')" = 0a0a ]; }

# Takes the text of FILE out of PATH and, if its SHA-256 agrees, puts it into its place. The archives' texts end in an
# empty line that the data set's do not have; without it they are the same bytes.
accept() { # KIND PATH FILE FROM; FROM is only said
  local kind=$1 path=$2 file=$3 from=$4 text=$tmp/text length
  if [ "$kind" = tar ] && [ -z "$(in_archive "$path" "$file" || true)" ]; then
    why="no $file in the archive, or not a whole archive"
    return 1
  fi
  # What is cut or broken is left to the sum to tell; the status of head alone says that the disk is full.
  { unpack "$kind" "$path" "$file" | head -c $((most + 1)) >"$text"; } 2>/dev/null || [ "${PIPESTATUS[1]}" = 0 ] ||
    die "cannot write $text: is the disk full? ($(free_space))"
  if ! agrees "$text" "$file"; then
    length=$(size_of "$text")
    why="wrong bytes: the SHA-256 of the text is ${sum:0:16}..., expected $(wanted "$file" | cut -c 1-16)..."
    [ "$length" -le "$most" ] || why="wrong bytes: more than $most of them"
    if [ "$kind" != tar ] || ! ends_in_empty_line "$text"; then return 1; fi
    head -c $((length - 1)) "$text" >"$text.shorter" || die "cannot write $text.shorter: is the disk full?"
    agrees "$text.shorter" "$file" || return 1
    mv -f "$text.shorter" "$text"
  fi
  mv -f "$text" "$out/$file" || die "cannot put $file into $out."
  say "$file: $(size_of "$out/$file") bytes from $from, the SHA-256 agrees"
}

free_space() { df -Pk "$out" 2>/dev/null | awk 'NR == 2 { print $4 " KiB free there" }'; }

# ------------------------------------------------------------------------------------------------------ downloading

silent_hosts=       # "host TAB reason", a line each: not to be asked again in this run
told_hosts=" "      # those of them of which this has been said
unchecked_hosts=" " # those whose certificate could not be verified

host_of() { # ADDRESS: the host, with its port if it has one
  local rest=${1#*://}
  rest=${rest%%/*}
  echo "${rest##*@}"
}

silence_of() { printf '%s' "$silent_hosts" | awk -F '\t' -v host="$1" '$1 == host { print $2; exit }'; }

# One run of wget, with a watchdog beside it, as wget's own time-out does not see a server that sends a byte now and
# then. Leaves $status: wget's exit status, or "stalled".
one_try() { # ADDRESS PART [OPTION]
  local address=$1 part=$2 option=${3:-} bar='' since=$SECONDS before size
  if [ -z "$quiet" ] && [ -t 2 ]; then bar="--show-progress --progress=bar:force:noscroll"; fi
  before=$(size_of "$part")
  status=0
  # shellcheck disable=SC2086 # $option and $bar are options or nothing
  # ulimit counts 512 bytes on some systems and 1024 on the others, so wget may write the limit or twice as much.
  (trap '' XFSZ && ulimit -S -f $((most / 512)) 2>/dev/null
    cd "${part%/*}" && exec wget --continue --tries=1 --timeout="$timeout" --connect-timeout="$knock" $option $bar \
    --output-file="$log" --output-document="${part##*/}" -- "$address") & # its bar shows the name, so no path there
  wget_pid=$!
  while kill -0 "$wget_pid" 2>/dev/null; do
    sleep 0.05
    if [ $((SECONDS - since)) -gt "$timeout" ]; then
      size=$(size_of "$part")
      if [ $((size - before)) -lt $((slowest * timeout)) ]; then
        kill "$wget_pid" 2>/dev/null || true
        status=stalled
        break
      fi
      since=$SECONDS before=$size
    fi
  done
  if [ "$status" = stalled ]; then
    { wait "$wget_pid"; } 2>/dev/null || true
  else
    wait "$wget_pid" || status=$?
  fi
  wget_pid=
}

logged() { grep -Eq "$1" "$log"; }

# What a failed try means. Leaves $why, and in $verdict: again (worth another try), silent (so is the host for now),
# restart (what was there cannot be continued) or no.
judge() { # HOST PART
  local host=$1 answer
  verdict=no
  answer=$(sed -n 's/.*awaiting response\.\.\. \([0-9][0-9][0-9].*\)/\1/p' "$log" | tail -n 1)
  if [ "$status" = 5 ]; then
    why="no secure connection to $host, even without the check of its certificate"
    verdict=silent
  elif [ "$status" = 3 ] && [ "$(size_of "$2")" -ge "$most" ]; then
    why="wrong bytes: more than $most of them"
    rm -f "$2"
  elif [ "$status" = 3 ]; then
    die "cannot write $2: is the disk full? ($(free_space))"
  elif [ "$status" = 8 ]; then
    why="HTTP ${answer:-error}"
    case $answer in 408* | 429* | 5*) verdict=again ;; esac
  elif logged 'unable to resolve'; then
    why="the name of $host could not be resolved" verdict=silent
  elif logged 'Connection refused'; then
    why="$host refused the connection" verdict=silent
  elif [ "$status" = 4 ] && logged 'establish SSL connection'; then
    why="no secure connection to $host" verdict=again
  elif logged 'HTTP request sent|connected\.$'; then
    if [ "$status" = stalled ] || logged 'timed out'; then
      verdict=again
      if [ -n "$answer" ]; then
        why="$host was too slow or fell silent for $timeout s"
      else
        why="$host took the connection but did not answer within $timeout s"
      fi
    elif [ "$status" = 4 ]; then
      why="the download was cut off at $(size_of "$2") bytes" verdict=again
    elif [ "$(size_of "$2")" -gt 0 ]; then
      why="$host does not resume downloads" verdict=restart
    else
      why="wget failed with status $status: $(grep . "$log" | tail -n 1)"
    fi
  else
    why="no connection to $host within $knock s" verdict=silent
    if logged 'unreachable|No route'; then why="$host is unreachable"; fi
  fi
}

# Downloads ADDRESS into PART, resuming what PART holds. Leaves $resumed, and on failure $why.
download() { # ADDRESS PART
  local address=$1 part=$2 host check='' try=1 restarted=''
  resumed='' skipped=''
  if [ -z "$wget" ]; then
    why="GNU wget is not installed, and downloading needs it"
    return 1
  fi
  host=$(host_of "$address")
  why=$(silence_of "$host")
  if [ -n "$why" ]; then
    skipped=yes
    case $told_hosts in *" $host "*) ;; *) note "$host did not answer before; it is not asked again" ;; esac
    told_hosts="$told_hosts$host "
    return 1
  fi
  case $unchecked_hosts in *" $host "*) check=--no-check-certificate ;; esac
  while :; do
    [ "$(size_of "$part")" = 0 ] || resumed=yes
    one_try "$address" "$part" "$check"
    if [ "$status" = 0 ] && [ -s "$part" ]; then return 0; fi
    if [ "$status" = 5 ] && [ -z "$check" ]; then
      warn "the certificate of $host could not be verified; retrying without the check: the SHA-256 decides"
      check=--no-check-certificate
      unchecked_hosts="$unchecked_hosts$host "
      continue
    fi
    if [ "$status" = 0 ]; then why="an empty file" verdict=no; else judge "$host" "$part"; fi
    [ -s "$part" ] || rm -f "$part"
    if [ "$verdict" = restart ] && [ -z "$restarted" ]; then
      restarted=yes resumed=
      rm -f "$part"
      continue
    fi
    if [ "$verdict" != again ] || [ "$try" -ge "$tries" ]; then break; fi
    try=$((try + 1))
    note "$(basename "$part" .part): $why; try $try of $tries"
    sleep 1
  done
  # A host that stayed silent, or dripped, through every try would do so for the next file.
  case $why in *"fell silent"* | *"did not answer"* | "no secure"*) verdict=silent ;; esac
  if [ "$verdict" = silent ]; then
    silent_hosts="$silent_hosts$host	$why
"
  fi
  return 1
}

# Downloads ADDRESS and accepts FILE from it; what was resumed and came out wrong is downloaded once more, whole.
from_address() { # SOURCE ADDRESS KIND FILE
  local source=$1 address=$2 kind=$3 file=$4 name part again=''
  # Named after the file, not the source: one source can go on where another was cut off.
  name=${address##*/}
  part=$parts/$name.part
  while :; do
    if [ "$kind" = tar ]; then
      get_archive "$address" "$part" || break
      accept tar "$tmp/$name" "$file" "$address" && return 0
    else
      download "$address" "$part" || break
      if accept "$kind" "$part" "$file" "$address"; then
        rm -f "$part"
        return 0
      fi
      rm -f "$part"
    fi
    if [ -z "$resumed" ] || [ -n "$again" ]; then break; fi
    note "$file: the resumed download has wrong bytes; once more from the beginning"
    rm -f "$tmp/$name.from"
    again=yes
  done
  failed "$source" "$file"
  return 1
}

# An archive is downloaded once in a run, into $tmp: it may hold one language as expected and the other not.
get_archive() { # ADDRESS PART
  local address=$1 part=$2 kept=$tmp/${1##*/}
  if [ -f "$kept.from" ] && [ "$(head -n 1 "$kept.from")" = "$address" ]; then
    resumed=$(sed -n 2p "$kept.from")
    return 0
  fi
  download "$address" "$part" || return 1
  mv -f "$part" "$kept"
  printf '%s\n' "$address" "$resumed" >"$kept.from"
}

# ---------------------------------------------------------------------------------------------------------- sources

archive_may_hold() { # ARCHIVE FILE
  case ${1##*/}:$2 in
  training.tar.gz:train.* | validation.tar.gz:val.*) return 0 ;;
  training.tar.gz:* | validation.tar.gz:*) return 1 ;;
  esac
}

from_list() { # SOURCE FILE
  local source=$1 file=$2
  case $source in
  *.tar.gz)
    archive_may_hold "$source" "$file" || return 1
    from_address "$source" "$source" tar "$file"
    ;;
  *) from_address "$source" "$source/$(original_name "$file").gz" gz "$file" ;;
  esac
}

from_mirror_address() { # FILE
  local file=$1 original names name layout folder kind end
  case $mirror in
  *.tar.gz)
    from_list "$mirror" "$file"
    return
    ;;
  esac
  original=$(original_name "$file")
  names=$original
  [ "$original" = "$file" ] || names="$original $file"
  for layout in ${mirror_layout:-data/task1/raw:gz :gz :plain}; do
    folder=$mirror/${layout%:*} kind=${layout#*:} end=.gz
    folder=${folder%/}
    [ "$kind" = gz ] || end=''
    for name in $names; do
      if from_address "$folder" "$folder/$name$end" "$kind" "$file"; then
        mirror_layout=$layout
        return 0
      fi
      [ -z "$(silence_of "$(host_of "$mirror")")" ] || return 1
    done
  done
  return 1
}

from_folder() { # FILE
  local file=$1 original path paths kind found=''
  original=$(original_name "$file")
  paths="data/task1/raw/$original.gz $original.gz $original"
  if [ "$original" != "$file" ]; then paths="$paths data/task1/raw/$file.gz $file.gz $file"; fi
  case $file in
  train.*) paths="$paths training.tar.gz" ;;
  val.*) paths="$paths validation.tar.gz" ;;
  esac
  if [ ! -d "$mirror" ]; then
    why="no such folder (an address begins with http:// or https://)"
    failed "$mirror" "$file"
    return 1
  fi
  for path in $paths; do
    [ -f "$mirror/$path" ] || continue
    found=yes
    case $path in *.tar.gz) kind=tar ;; *.gz) kind=gz ;; *) kind=plain ;; esac
    if [ ! -r "$mirror/$path" ]; then
      why="may not be read"
    elif accept "$kind" "$mirror/$path" "$file" "$mirror/$path"; then
      return 0
    fi
    failed "$mirror/$path" "$file"
  done
  if [ -z "$found" ]; then
    why="holds none of ${paths// /, }"
    failed "$mirror" "$file"
  fi
  return 1
}

fetch() { # FILE
  local file=$1 source
  if [ -n "$mirror" ]; then
    case $mirror in
    *://*) from_mirror_address "$file" && return 0 ;;
    *) from_folder "$file" && return 0 ;;
    esac
    [ -z "${sources[*]-}" ] || note "$file: not from the mirror; going on to the public sources"
  fi
  for source in ${sources[@]+"${sources[@]}"}; do
    from_list "${source%/}" "$file" && return 0
  done
  return 1
}

# --------------------------------------------------------------------------------------------------- the work folder

# OUT/.partial keeps the cut downloads, and a folder run.PID of what belongs to one run alone. Of two runs at once,
# the second leaves the kept downloads to the first, which holds the lock, and makes its own.
alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

open_work() {
  local dir
  [ -d "$out" ] || made_out=yes
  why=$(mkdir -p "$out" 2>&1) || die "cannot make the folder $out: $why"
  work=$out/.partial tmp=$out/.partial/run.$$ log=$out/.partial/run.$$/log
  why=$({ mkdir -p "$tmp" && echo probe >"$tmp/probe"; } 2>&1) || die "cannot write in $out: $why"
  if [ -d "$work/lock" ] && [ -s "$work/lock/pid" ] && ! alive "$(cat "$work/lock/pid")"; then
    mv "$work/lock" "$tmp/stale" 2>/dev/null || true # its run was killed
  fi
  parts=$tmp
  if mkdir "$work/lock" 2>/dev/null; then
    echo $$ >"$work/lock/pid"
    locked=yes parts=$work
    for dir in "$work"/run.*; do
      alive "${dir##*/run.}" || rm -rf "$dir"
    done
  fi
}

close_work() {
  if [ -n "$wget_pid" ]; then kill "$wget_pid" 2>/dev/null || true; fi
  rm -rf "$tmp"
  if [ -n "$locked" ]; then
    if [ -n "$complete" ]; then rm -f "$parts"/*.part; fi
    rm -rf "$work/lock"
  fi
  rmdir "$work" 2>/dev/null || true
  if [ -n "$made_out" ]; then rmdir "$out" 2>/dev/null || true; fi
}

# ------------------------------------------------------------------------------------------------------------- main

while [ $# -gt 0 ]; do
  option=$1
  case $option in
  --help | -h)
    usage
    exit 0
    ;;
  --quiet)
    quiet=yes
    shift
    continue
    ;;
  --out=* | --mirror=* | --timeout=* | --tries=* | --checksums=*)
    value=${option#*=} option=${option%%=*}
    shift
    ;;
  --out | --mirror | --timeout | --tries | --checksums)
    [ $# -ge 2 ] || wrong_usage "$option needs a value."
    value=$2
    shift 2
    ;;
  *) wrong_usage "unknown argument: $option" ;;
  esac
  [ -n "$value" ] || wrong_usage "$option needs a value that is not empty."
  case $option in
  --out) out=$value ;;
  --mirror) mirror=$value ;;
  --checksums) checksums=$value ;;
  --timeout) timeout=$value ;;
  --tries) tries=$value ;;
  esac
done

for value in "$timeout" "$tries"; do
  case $value in
  *[!0-9]* | 0* | ?????*) wrong_usage "--timeout and --tries are whole numbers from 1 to 9999, not $value." ;;
  esac
done
wget=$(wget --version 2>/dev/null | sed -n '/GNU Wget/p' || true) # needed only where an address is asked
knock=$timeout
[ "$knock" -le "$longest_knock" ] || knock=$longest_knock
case $mirror in
http://* | https://* | ftp://*) ;;
file://*) mirror=${mirror#file://} ;;
*://*) wrong_usage "a mirror is an address (http://, https://, ftp://) or a folder, not $mirror." ;;
esac
while [ "$mirror" != "${mirror%/}" ] && [ "$mirror" != / ]; do mirror=${mirror%/}; done
case $out in /*) ;; *) out=$PWD/$out ;; esac
case $mirror in -*) mirror=./$mirror ;; esac

if [ ! -f "$checksums" ] || [ ! -r "$checksums" ]; then wrong_usage "cannot read the checksums, $checksums."; fi
for file in $files; do
  sum=$(wanted "$file")
  [ ${#sum} = 64 ] || wrong_usage "$checksums has no SHA-256 of $file."
done
for tool in awk cut gzip head od sed tar tr; do
  command -v "$tool" >/dev/null 2>&1 || die "$tool is not installed, and this script needs it."
done
sha256 "$checksums" >/dev/null || die "neither sha256sum nor shasum is installed: nothing could be verified."

read -r -d '' -a sources <<<"${MULTI30K_SOURCES-$public_sources}" || true # read's status says only that the text ended

todo=
for file in $files; do
  if in_place "$file"; then continue; fi
  todo="$todo $file"
  [ ! -d "$out/$file" ] || die "$out/$file is a folder; a text belongs there."
  [ ! -e "$out/$file" ] || note "$file is there but its SHA-256 is another; it stays until a verified one replaces it"
done
if [ -z "$todo" ]; then
  say "Multi30k is in place in $out."
  exit 0
fi

trap 'exit 130' INT
trap 'exit 143' TERM HUP
open_work
trap close_work EXIT

missing=
for file in $todo; do
  fetch "$file" || missing="$missing $file"
done
if [ -n "$missing" ]; then
  report
  exit 1
fi
complete=yes
say "Multi30k is in place in $out."
