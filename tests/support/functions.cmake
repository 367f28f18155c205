# SPDX-License-Identifier: Apache-2.0
# How tests are added. A directory under tests/ is a group: its name is the first part of its tests' names and a CTest
# label, and `cmake --build build/dev --target tests-<group>` builds it. Tests include "support/…" of tests/.
#
#   shmdict_test(name SOURCES file... [options])
#     A program of Catch2 cases. Each TEST_CASE becomes a CTest test, "<group>.<name>.<test case>".
#       PLAIN          no Catch2: the program is one CTest test, "<group>.<name>"; exit code 0 passes, 77 skips
#       CRASH          links the core with crash points
#       LABELS l...    further CTest labels
#       LOCKS name...  tests that share a lock's name do not run at the same time
#       SERIAL         nothing else runs at the same time
#       LIBS lib...    further libraries; JSON and FMT link shm/json.hpp's and shm/fmt.hpp's
#       PROGRAMS p...  programs of shmdict_program; the path of each is the macro PROGRAM_<P> in the test
#     In group core a test sees the core's own headers and hidden symbols, elsewhere it links shmdict::cpp.
#
#   shmdict_program(name SOURCES file... [CRASH] [LIBS lib...] [JSON] [FMT])
#     A program that tests of the same group start; not a test itself.
#
#   shmdict_must_not_compile(name file.cpp regex)
#     Passes if file.cpp with MUST_NOT_COMPILE_<NAME> defined (upper case) is refused, and the compiler's output matches
#     regex. Without the macro the file must compile: a test of its own, added once per file. A file may hold many cases.
#
#   shmdict_snippets(name file.md [RUN])
#     The document's C++ snippets compile: each is a function, but for those that start with "// At namespace level".
#     RUN: each is a test case, too, named after the heading above it, and ends in an assert. Every numbered heading
#     ("## 3. ...") must have one. Dict names in it that begin with "demo." are made unique (support/snippets.hpp).
#
#   shmdict_fuzzer(name SOURCES file... CORPUS directory)
#     A libFuzzer target (LLVMFuzzerTestOneInput). With SHMDICT_FUZZ it runs SHMDICT_FUZZ_SECONDS, label "fuzz";
#     always, the kept corpus is replayed as a test.

get_filename_component(shmdict_support_dir ${CMAKE_CURRENT_LIST_FILE} DIRECTORY)

function(shmdict_group out)
  get_filename_component(group ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set(${out} ${group} PARENT_SCOPE)
endfunction()

# What tests, programs and fuzzers have in common.
function(shmdict_test_executable target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "CRASH;JSON;FMT" "CORE" "SOURCES;LIBS")
  shmdict_group(group)
  add_executable(${target} ${arg_SOURCES})
  if(arg_CORE)
    target_link_libraries(${target} PRIVATE ${arg_CORE})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/cpp/include)
  elseif(arg_CRASH)
    target_link_libraries(${target} PRIVATE shmdict_cpp_crash)
  elseif(group STREQUAL "core")
    target_link_libraries(${target} PRIVATE shmdict_core_static)
  else()
    target_link_libraries(${target} PRIVATE shmdict::cpp)
  endif()
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  if(group STREQUAL "core")
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/c-core/src)
  endif()
  target_link_libraries(${target} PRIVATE ${arg_LIBS}
    $<$<BOOL:${arg_JSON}>:nlohmann_json::nlohmann_json> $<$<BOOL:${arg_FMT}>:fmt::fmt>)
  find_package(Threads REQUIRED)
  target_link_libraries(${target} PRIVATE Threads::Threads)
  shmdict_warnings(${target})
  add_dependencies(tests-${group} ${target})
endfunction()

function(shmdict_program name)
  shmdict_group(group)
  shmdict_test_executable(${group}_${name} ${ARGN})
endfunction()

function(shmdict_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "PLAIN;SERIAL" "" "LABELS;LOCKS;PROGRAMS;SOURCES;LIBS")
  shmdict_group(group)
  set(target ${group}_${name})
  if(NOT arg_PLAIN)
    list(APPEND arg_LIBS shmdict_catch)
  endif()
  shmdict_test_executable(${target} SOURCES ${arg_SOURCES} LIBS ${arg_LIBS} ${arg_UNPARSED_ARGUMENTS})

  foreach(program IN LISTS arg_PROGRAMS)
    string(TOUPPER PROGRAM_${program} macro)
    target_compile_definitions(${target} PRIVATE ${macro}="$<TARGET_FILE:${group}_${program}>")
    add_dependencies(${target} ${group}_${program})
  endforeach()

  if(arg_PLAIN)
    add_test(NAME ${group}.${name} COMMAND ${target})
    set_tests_properties(${group}.${name} PROPERTIES SKIP_RETURN_CODE 77
      LABELS "${group};${arg_LABELS}" RESOURCE_LOCK "${arg_LOCKS}" RUN_SERIAL ${arg_SERIAL})
    return()
  endif()

  # Catch2's discovery cannot pass on properties that are lists: set after it, when CTest reads the tests.
  include(${Catch2_DIR}/Catch.cmake)
  catch_discover_tests(${target} TEST_PREFIX "${group}.${name}." TEST_LIST ${target}_cases)
  set(file ${CMAKE_CURRENT_BINARY_DIR}/${target}_properties.cmake)
  file(CONFIGURE OUTPUT ${file} @ONLY CONTENT [[
foreach(case IN LISTS @target@_cases)
  set_tests_properties("${case}" PROPERTIES SKIP_RETURN_CODE 77
    LABELS "@group@;@arg_LABELS@" RESOURCE_LOCK "@arg_LOCKS@" RUN_SERIAL @arg_SERIAL@)
endforeach()
]])
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${file})
endfunction()

function(shmdict_must_not_compile name file regex)
  shmdict_group(group)
  if(NOT TARGET must_not_compile_includes) # never built: it knows the include directories
    add_library(must_not_compile_includes OBJECT EXCLUDE_FROM_ALL ${file})
    target_link_libraries(must_not_compile_includes PRIVATE shmdict::cpp nlohmann_json::nlohmann_json fmt::fmt)
    set_target_properties(must_not_compile_includes PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
  endif()
  get_filename_component(file ${file} ABSOLUTE)
  get_filename_component(stem ${file} NAME_WE)
  set(command ${CMAKE_COMMAND}
    -DCOMPILER=${CMAKE_CXX_COMPILER}
    -DSTANDARD=${CMAKE_CXX${CMAKE_CXX_STANDARD}_STANDARD_COMPILE_OPTION}
    "-DINCLUDES=$<JOIN:$<TARGET_PROPERTY:must_not_compile_includes,INCLUDE_DIRECTORIES>,|>"
    "-DIMPLICIT=$<JOIN:${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES},|>"
    -DSOURCE=${file})
  set(script -P ${shmdict_support_dir}/must_not_compile.cmake)

  set(control "${group}.${stem}.compiles without its forbidden lines")
  if(NOT TEST ${control})
    add_test(NAME ${control} COMMAND ${command} ${script})
    set_tests_properties(${control} PROPERTIES LABELS "${group};compile" FIXTURES_SETUP ${group}.${stem})
  endif()
  string(TOUPPER MUST_NOT_COMPILE_${name} macro)
  add_test(NAME "${group}.${stem}.must not compile: ${name}"
    COMMAND ${command} -DMACRO=${macro} "-DREGEX=${regex}" ${script})
  set_tests_properties("${group}.${stem}.must not compile: ${name}" PROPERTIES
    LABELS "${group};compile" FIXTURES_REQUIRED ${group}.${stem})
endfunction()

function(shmdict_snippets name document)
  cmake_parse_arguments(PARSE_ARGV 2 arg "RUN" "" "")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${document})
  get_filename_component(file ${document} NAME)
  file(READ ${document} text)
  set(code "// Made from ${file}.\n")
  if(arg_RUN)
    string(APPEND code "#include \"support/snippets.hpp\"\n")
  else()
    string(APPEND code "#include <cstdio>\n")
  endif()
  set(count 0)
  set(heading "")
  string(FIND "${text}" "```cpp\n" at)
  while(NOT at EQUAL -1)
    string(SUBSTRING "${text}" 0 ${at} before)
    string(REGEX MATCHALL "\n## [^\n]*" headings "${before}")
    if(headings)
      list(GET headings -1 heading)
      string(SUBSTRING "${heading}" 4 -1 heading)
      string(REGEX REPLACE "[^A-Za-z0-9_. ]" "" heading "${heading}")
      string(REGEX MATCHALL "\n## [0-9]+\\. [^\n]*" numbered "${before}")
      list(LENGTH numbered length)
      if(arg_RUN AND length GREATER 1)
        message(FATAL_ERROR "${file}: there is no snippet between these headings: ${numbered}")
      endif()
    endif()
    math(EXPR at "${at} + 7")
    string(SUBSTRING "${text}" ${at} -1 text)
    string(FIND "${text}" "```" at)
    string(SUBSTRING "${text}" 0 ${at} snippet)
    math(EXPR at "${at} + 3")
    string(SUBSTRING "${text}" ${at} -1 text)
    math(EXPR count "${count} + 1")
    string(FIND "${snippet}" "// At namespace level" at)
    if(at EQUAL 0)
      string(APPEND code "${snippet}")
    elseif(arg_RUN)
      if(NOT snippet MATCHES "assert")
        message(FATAL_ERROR "${file}: a snippet under \"${heading}\" asserts nothing")
      endif()
      string(REGEX REPLACE "\"(demo\\.[^\"]*)\"" "support::own(\"\\1\")" snippet "${snippet}")
      string(APPEND code "TEST_CASE(\"${heading} (${count})\") {\n${snippet}}\n")
    else()
      string(APPEND code "void snippet_${count}();\nvoid snippet_${count}() {\n${snippet}}\n")
    endif()
    string(FIND "${text}" "```cpp\n" at)
  endwhile()
  if(arg_RUN AND text MATCHES "\n## [0-9]+\\. ([^\n]*)")
    message(FATAL_ERROR "${file}: there is no snippet under \"${CMAKE_MATCH_1}\"")
  endif()

  set(made ${CMAKE_CURRENT_BINARY_DIR}/${name}_snippets.cpp)
  file(CONFIGURE OUTPUT ${made} CONTENT "@code@" @ONLY)
  shmdict_group(group)
  if(arg_RUN)
    shmdict_test(${name}_snippets SOURCES ${made} JSON FMT)
    set(target ${group}_${name}_snippets)
  else()
    set(target ${group}_${name})
    add_library(${target} OBJECT ${made})
    target_link_libraries(${target} PRIVATE shmdict::cpp nlohmann_json::nlohmann_json fmt::fmt)
    shmdict_warnings(${target})
    add_dependencies(tests-${group} ${target})
  endif()
  target_compile_options(${target} PRIVATE -Wno-unused-variable -Wno-unused-but-set-variable)
endfunction()

function(shmdict_fuzzer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "CORPUS" "SOURCES")
  shmdict_group(group)
  get_filename_component(corpus ${arg_CORPUS} ABSOLUTE)

  shmdict_test_executable(${group}_${name}_replay SOURCES ${arg_SOURCES} ${shmdict_support_dir}/fuzz_replay.cpp)
  add_test(NAME "${group}.${name}.the kept corpus is read without harm" COMMAND ${group}_${name}_replay ${corpus})
  set_tests_properties("${group}.${name}.the kept corpus is read without harm" PROPERTIES
    LABELS ${group})

  if(SHMDICT_FUZZ)
    set(target ${group}_${name}_fuzz)
    shmdict_test_executable(${target} SOURCES ${arg_SOURCES} CORE shmdict_core_fuzz)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer,address,undefined)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer,address,undefined)
    add_dependencies(fuzzers ${target})
    # New inputs go to the first directory, the kept corpus is only read.
    set(found ${CMAKE_CURRENT_BINARY_DIR}/${name}_corpus)
    file(MAKE_DIRECTORY ${found})
    add_test(NAME "${group}.${name}.fuzzing finds nothing"
      COMMAND ${target} -max_total_time=${SHMDICT_FUZZ_SECONDS} -timeout=20 -print_final_stats=1
              -artifact_prefix=${found}/ ${found} ${corpus})
    set_tests_properties("${group}.${name}.fuzzing finds nothing" PROPERTIES LABELS fuzz)
  endif()
endfunction()
