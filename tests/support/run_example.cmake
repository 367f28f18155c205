# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM=path -DLABEL=word -DCLOSING=regex -P run_example.cmake: starts an example with a dict name of its own.
# Passes if it exits with 0, its last line matches the regex as a whole, and it leaves nothing in shared memory.
string(RANDOM LENGTH 8 unique)
set(name test.example.${LABEL}.${unique})
execute_process(COMMAND ${PROGRAM} ${name} OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE code)
file(GLOB left /dev/shm/shmdict.${name}*)
if(left)
  file(REMOVE ${left})
endif()

string(STRIP "${out}" out)
string(REGEX REPLACE ".*\n" "" last "${out}")
if(NOT code STREQUAL "0")
  message(FATAL_ERROR "it ended with ${code}:\n${out}\n${err}")
elseif(NOT last MATCHES "^(${CLOSING})$")
  message(FATAL_ERROR "its last line is \"${last}\", not \"${CLOSING}\"")
elseif(left)
  message(FATAL_ERROR "it left ${left}")
endif()
