# What the program is built on. Debian and Ubuntu packages are listed in packages.txt; elsewhere
# every library is found through pkg-config (PKG_CONFIG_PATH) or the usual CMake variables
# (MPI_HOME, HDF5_ROOT, CMAKE_PREFIX_PATH).

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)
set(HDF5_PREFER_PARALLEL FALSE)
find_package(HDF5 REQUIRED COMPONENTS C)

pkg_check_modules(SNDFILE REQUIRED IMPORTED_TARGET sndfile)
pkg_check_modules(SOXR REQUIRED IMPORTED_TARGET soxr)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)

add_library(cocola_hdf5 INTERFACE)
target_include_directories(cocola_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(cocola_hdf5 INTERFACE ${HDF5_C_LIBRARIES})

add_library(cocola_random123 INTERFACE)
target_include_directories(cocola_random123 SYSTEM INTERFACE ${RANDOM123_INCLUDE_DIR})

# Rendering songs needs two synthesiser libraries that a cluster seldom has.
set(COCOLA_HAVE_RENDER OFF)
if(NOT COCOLA_RENDER STREQUAL "OFF")
  pkg_check_modules(FLUIDSYNTH IMPORTED_TARGET fluidsynth>=2.2)
  pkg_check_modules(OPENMPT IMPORTED_TARGET libopenmpt)
  if(FLUIDSYNTH_FOUND AND OPENMPT_FOUND)
    set(COCOLA_HAVE_RENDER ON)
  elseif(COCOLA_RENDER STREQUAL "ON")
    message(FATAL_ERROR "COCOLA_RENDER=ON needs libfluidsynth >= 2.2 and libopenmpt")
  else()
    message(STATUS "cocola render is left out: libfluidsynth or libopenmpt was not found")
  endif()
endif()
