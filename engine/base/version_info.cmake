# Writes OUTPUT (version_info.h) from SOURCE_DIR, VERSION, PYTHON_VERSION, BUILD_KIND and HEADERS (paths joined by colons).
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git -c safe.directory=* rev-parse --short=12 HEAD WORKING_DIRECTORY ${SOURCE_DIR}
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit unknown)
endif()

set(hashes ${BUILD_KIND})
string(REPLACE ":" ";" HEADERS "${HEADERS}")
foreach(header IN LISTS HEADERS)
  file(SHA256 ${header} hash)
  string(APPEND hashes ${hash})
endforeach()
string(SHA256 hash ${hashes})
string(SUBSTRING ${hash} 0 12 hash)

file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT
"#pragma once
#define RAY_ENGINE_VERSION \"@VERSION@\"
#define RAY_ENGINE_PYTHON_VERSION \"@PYTHON_VERSION@\"
#define RAY_ENGINE_COMMIT \"@commit@\"
#define RAY_ENGINE_BUILD_HASH \"@hash@\"
")
