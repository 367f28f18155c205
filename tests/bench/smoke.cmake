# SPDX-License-Identifier: Apache-2.0
# Runs the harness on tiny sizes and looks at what it prints: each peer, each kind of key, threads and processes.
#   cmake -DHARNESS=... -P smoke.cmake
set(all "get,get_view,mix95,mix50,put,put_locked,counter,insert,iterate")

function(harness lines) # harness(least-number-of-lines argument...)
  execute_process(COMMAND ${HARNESS} --keys 300 --rounds 1 --seconds 0.001 --no-pin ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE error)
  string(REGEX MATCHALL "\"ops_per_s\":[0-9.]*[1-9]" measured "${output}")
  list(LENGTH measured count)
  if(NOT result EQUAL 0 OR count LESS lines)
    message(FATAL_ERROR "harness ${ARGN}: exit ${result}, ${count} measurements of at least ${lines}\n${output}${error}")
  endif()
endfunction()

set(local "shmdict,std::unordered_map,std::unordered_map+shared_mutex")
harness(24 --systems ${local} --work ${all} --latency)
harness(24 --systems ${local} --work ${all} --key-type string24 --value-bytes 100 --distribution zipf)
harness(15 --systems ${local} --work get,mix50,put,counter,insert --key-type path)
harness(8 --systems shmdict --work ${all} --processes 2)
harness(12 --systems shmdict,std::unordered_map+shared_mutex --work get,put,mix95,counter,insert --threads 2)

# What cannot be measured is refused, and says why.
execute_process(COMMAND ${HARNESS} --systems std::unordered_map --work get --processes 2
  RESULT_VARIABLE result ERROR_VARIABLE error)
if(result EQUAL 0 OR NOT error MATCHES "lives in one process")
  message(FATAL_ERROR "a map of one process was measured in two: ${error}")
endif()
