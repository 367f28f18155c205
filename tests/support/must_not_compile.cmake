# SPDX-License-Identifier: Apache-2.0
# Compiles SOURCE with -fsyntax-only. With MACRO it must be refused with a message that matches REGEX; without, accepted.
string(REPLACE "|" ";" includes "${INCLUDES}")
string(REPLACE "|" ";" implicit "${IMPLICIT}")
list(REMOVE_DUPLICATES includes)
list(REMOVE_ITEM includes ${implicit})
list(TRANSFORM includes PREPEND -I)
set(define)
if(MACRO)
  set(define -D${MACRO})
endif()

execute_process(COMMAND ${COMPILER} ${STANDARD} ${includes} ${define} -fsyntax-only ${SOURCE}
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)

if(NOT MACRO)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "must compile, but does not:\n${output}")
  endif()
elseif(result EQUAL 0)
  message(FATAL_ERROR "compiled with ${MACRO}, but must not")
elseif(NOT output MATCHES "${REGEX}")
  message(FATAL_ERROR "refused with ${MACRO}, but no message matches '${REGEX}':\n${output}")
endif()
