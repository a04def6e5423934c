# SPDX-License-Identifier: LGPL-2.1-or-later
# How a folder becomes a target, and which options every target gets.
include(GNUInstallDirs)
find_package(PkgConfig REQUIRED)

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

option(DROVER_WERROR "Warnings are errors" OFF)
set(DROVER_SANITIZE "" CACHE STRING "Value for -fsanitize=")
option(DROVER_COVERAGE "Instrument for gcov" OFF)
option(DROVER_FUZZ "Build the fuzz targets (clang)" OFF)

add_compile_definitions(_GNU_SOURCE DROVER_VERSION="${PROJECT_VERSION}")
add_compile_options(-fno-strict-aliasing -fstack-protector-strong)
if(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  if(NOT DROVER_SANITIZE)
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-clash-protection)
    add_link_options(-Wl,-z,relro,-z,now -pie)
  endif()
endif()
if(DROVER_SANITIZE)
  add_compile_options(-fsanitize=${DROVER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${DROVER_SANITIZE})
endif()
if(DROVER_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()

# A program for every unit test is much linking, which gold does in a fifth of the time; what is installed is linked as usual.
if(BUILD_TESTING)
  include(CheckLinkerFlag)
  check_linker_flag(C -fuse-ld=gold DROVER_GOLD)
  if(DROVER_GOLD)
    add_link_options(-fuse-ld=gold)
  endif()
endif()

add_library(drover_warnings INTERFACE)
target_compile_options(drover_warnings INTERFACE -Wall -Wextra -Wformat=2 -Wshadow -Wconversion -Wvla
                       -Wstrict-prototypes -Wmissing-prototypes $<$<BOOL:${DROVER_WERROR}>:-Werror>)

foreach(pair OPENSSL:openssl UV:libuv PROTOBUFC:libprotobuf-c LIBVIRT:libvirt LIBVIRT_QEMU:libvirt-qemu XML:libxml-2.0
             SQLITE:sqlite3 JANSSON:jansson YAML:yaml-0.1 SMARTCOLS:smartcols SYSTEMD:libsystemd XXHASH:libxxhash ZSTD:libzstd LIBNBD:libnbd CURL:libcurl QRENCODE:libqrencode)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 name)
  list(GET pair 1 module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${module})
endforeach()

# drover_folder(<path> [DEPENDS target...]): every .c of the folder becomes the static library named after the path
# ("agent/host" -> agent_host). Others see its headers as "agent/host/x.h", and only if they depend on it: each target
# exports an include directory that holds nothing but a link to its own folder, so a wrong include does not compile.
function(drover_folder path)
  cmake_parse_arguments(arg "" "" "DEPENDS;EXCLUDE" ${ARGN})
  string(REPLACE "/" "_" target ${path})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${path}/*.c)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  add_library(${target} STATIC ${sources})
  set(include ${CMAKE_BINARY_DIR}/include/${target})
  get_filename_component(parent ${include}/${path} DIRECTORY)
  file(MAKE_DIRECTORY ${parent})
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${path} ${include}/${path} SYMBOLIC)
  target_include_directories(${target} PUBLIC ${include})
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE drover_warnings)
endfunction()
