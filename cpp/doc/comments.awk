# SPDX-License-Identifier: Apache-2.0
# Doxygen's input filter: makes this project's plain comments into the kind that Doxygen reads; code stays as it is.
#   // text, /* text */ above a declaration    ->  /// text, /** text */     the first of a file: about the file
#   declaration; // text, or /* text */        ->  ///< text
#   /* ---- title ---- text */                 ->  a group of declarations, up to the next one
# Lines of a comment that are indented by three or more are code; `x` is code, too; '<', '@' and so on are themselves.

function plain(text) {
  gsub(/[\\@&$#<>%"]/, "\\\\&", text)
  gsub(/::/, "\\::", text)
  gsub(/--/, "\\--", text)
  while (match(text, /`[^`]+`/))
    text = substr(text, 1, RSTART - 1) "<code>" substr(text, RSTART + 1, RLENGTH - 2) "</code>" substr(text, RSTART + RLENGTH)
  return text
}

# A line of a comment, without its marks.
function comment(text) {
  if (!talking) {
    talking = 1
    if (!spoken++) print "/// @file"
  }
  if (text ~ /^   / && text !~ /^ *[-0-9]/) {
    if (!code) print "/// @code{.cpp}"
    code = 1
    print "/// " text
    return
  }
  if (code) print "/// @endcode"
  code = 0
  if (text ~ /^ *(Promises|Caveats|Conventions|Thread safety|Signal handlers|Lifetime|Errors|Size)[:.]/) print "///"
  print "/// " plain(text)
}

function silence() {
  if (code) print "/// @endcode"
  if (talking && spoken == 1) print "" # what is about the file is about nothing else
  talking = code = 0
}

function section(text) {
  silence()
  if (grouped) print "/// @}"
  grouped = 1
  sub(/^-+ /, "", text)
  sub(/ -+$/, "", text)
  print "/// @name " text
  spoken += 1
}

# The licence is no documentation.
NR == 1 && /SPDX-License-Identifier/ {
  print ""
  next
}

# Doxygen stumbles over specialisations of what other libraries declare.
/^template <.*>$/ {
  silence()
  held = $0
  next
}
held {
  text = held
  held = ""
  if (/^struct (std|fmt|nlohmann)::.*;$/) next
  print text
}

# Inside of a block comment.
block {
  ended = sub(/[ \t]*\*\/[ \t]*$/, "")
  sub(/^[ \t]*\*/, "")
  if (!(ended && $0 == "")) comment($0)
  if (ended) {
    block = 0
    if (opening) print "/// @{\n"
    opening = 0
    silence()
  }
  next
}

/^[ \t]*\/\*/ && !/\*\/[ \t]*[^ \t]/ {
  sub(/^[ \t]*\/\*[ \t]*/, "")
  ended = sub(/[ \t]*\*\/[ \t]*$/, "")
  if ($0 ~ /^----/) {
    section($0)
    opening = 1
    if (ended) {
      print "/// @{\n"
      opening = 0
    }
  } else {
    comment(" " $0)
  }
  if (ended) silence()
  block = !ended
  next
}

/^[ \t]*\/\// {
  sub(/^[ \t]*\/\//, "")
  comment($0)
  next
}

{
  silence()
  if (match($0, /[;,][ \t]+\/[\/*] /) || match($0, /\{.*\}[ \t]+\/[\/*] /)) {
    text = substr($0, RSTART + RLENGTH)
    declaration = substr($0, 1, RSTART + RLENGTH - 4)
    if (text !~ /NOLINT/ && (text !~ /\*\// || sub(/[ \t]*\*\/$/, "", text))) $0 = declaration " ///< " plain(text)
  }
  print
}

END {
  if (grouped) print "/// @}"
}
