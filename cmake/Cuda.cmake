# The backend for GPUs: COCOLA_CUDA = AUTO (where nvcc and the libraries are found), ON, OFF, or EMULATED
# (kernels and host code on the CPU, for tests: tests/emulator).
#
# Looked for in CUDAToolkit_ROOT, the usual places, and the folders of NVIDIA's Python packages (nvidia/cu13,
# nvidia/cublas, nvidia/nccl ...) of COCOLA_PYTHON. Gives COCOLA_CUDA_KIND (OFF, REAL, EMULATED) and
# COCOLA_HAVE_NCCL, the libraries cocola_cuda and cocola_nccl, and cocola_add_cuda(target folder) for
# folder/*.c and *.cu.

set(COCOLA_CUDA "AUTO" CACHE STRING "Backend for GPUs: AUTO, ON, OFF or EMULATED (on the CPU, for tests)")
set(COCOLA_NCCL "AUTO" CACHE STRING "Collectives from GPU to GPU, with COCOLA_CUDA: AUTO, ON or OFF")
set(COCOLA_CUDA_ARCH "" CACHE STRING
    "Compute capabilities as CMAKE_CUDA_ARCHITECTURES takes them; empty: 80, 90, 100 and what comes later")
set(COCOLA_PYTHON "python3" CACHE STRING "Python whose nvidia/* packages are looked through for libraries")
set(COCOLA_CUDA_KIND OFF)
set(COCOLA_HAVE_NCCL OFF)
add_library(cocola_cuda INTERFACE)
add_library(cocola_nccl INTERFACE)

if(NOT COCOLA_CUDA MATCHES "^(AUTO|ON|OFF|EMULATED)$")
  message(FATAL_ERROR "COCOLA_CUDA=${COCOLA_CUDA}: choose AUTO, ON, OFF or EMULATED")
endif()
if(NOT COCOLA_NCCL MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "COCOLA_NCCL=${COCOLA_NCCL}: choose AUTO, ON or OFF")
endif()

# ---- finding -------------------------------------------------------------------------------------

# Folders that may hold bin/nvcc, include and lib, the most wanted first.
function(cocola_cuda_places out)
  execute_process(COMMAND ${COCOLA_PYTHON} -c
    "import pathlib, sys; [print(q) for p in sys.path if p for q in sorted(pathlib.Path(p).glob('nvidia/*')) if q.is_dir()]"
    OUTPUT_VARIABLE wheels ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  string(REPLACE "\n" ";" wheels "${wheels}")
  set(${out} ${CUDAToolkit_ROOT} $ENV{CUDAToolkit_ROOT} $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda
      ${wheels} PARENT_SCOPE)
endfunction()

# Python packages have libraries with their version in the name alone.
function(cocola_find_library variable name)
  find_library(${variable} NAMES ${name} ${ARGN} HINTS ${places} PATH_SUFFIXES lib64 lib)
endfunction()

function(cocola_find_cuda)
  cocola_cuda_places(places)
  find_program(COCOLA_NVCC nvcc HINTS ${places} PATH_SUFFIXES bin)
  if(COCOLA_NVCC) # headers and libraries of the same toolkit before others
    get_filename_component(toolkit ${COCOLA_NVCC} REALPATH)
    get_filename_component(toolkit ${toolkit}/../.. ABSOLUTE)
    list(PREPEND places ${toolkit})
  endif()
  find_path(COCOLA_CUDA_INCLUDE cuda_runtime_api.h HINTS ${places} PATH_SUFFIXES include)
  find_path(COCOLA_CUBLAS_INCLUDE cublas_v2.h HINTS ${places} PATH_SUFFIXES include)
  cocola_find_library(COCOLA_CUDART cudart libcudart.so.13 libcudart.so.12)
  cocola_find_library(COCOLA_CUBLAS cublas libcublas.so.13 libcublas.so.12)
  find_path(COCOLA_NCCL_INCLUDE nccl.h HINTS ${places} PATH_SUFFIXES include)
  cocola_find_library(COCOLA_NCCL_LIBRARY nccl libnccl.so.2)
endfunction()

# The major version that a header defines, or that a library's file name ends with.
function(cocola_major_of_header file name out)
  file(STRINGS ${file} line REGEX "#define[ \t]+${name}[ \t]+[0-9]+")
  string(REGEX REPLACE ".*[ \t]([0-9]+).*" "\\1" number "${line}")
  if(number GREATER 1000)
    math(EXPR number "${number} / 1000")
  endif()
  set(${out} "${number}" PARENT_SCOPE)
endfunction()

function(cocola_major_of_library file out)
  get_filename_component(file ${file} REALPATH)
  string(REGEX MATCH "\\.so\\.([0-9]+)" found "${file}")
  set(${out} "${CMAKE_MATCH_1}" PARENT_SCOPE)
endfunction()

# *problem: "", or why what was found cannot be used.
function(cocola_check_cuda problem)
  foreach(part COCOLA_NVCC COCOLA_CUDA_INCLUDE COCOLA_CUBLAS_INCLUDE COCOLA_CUDART COCOLA_CUBLAS)
    if(NOT ${part})
      list(APPEND missing ${part})
    endif()
  endforeach()
  if(missing)
    list(JOIN missing ", " missing)
    set(${problem} "${missing}: not found; set CUDAToolkit_ROOT or COCOLA_PYTHON" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${COCOLA_NVCC} --version OUTPUT_VARIABLE text ERROR_QUIET)
  if(NOT text MATCHES "release ([0-9]+)\\.([0-9]+)")
    set(${problem} "${COCOLA_NVCC} --version does not say a release" PARENT_SCOPE)
    return()
  endif()
  set(major ${CMAKE_MATCH_1})
  if(major LESS 12)
    set(${problem} "${COCOLA_NVCC} is of CUDA ${major}, 12 or later is needed; set CUDAToolkit_ROOT" PARENT_SCOPE)
    return()
  endif()
  set(COCOLA_CUDA_VERSION ${CMAKE_MATCH_1}.${CMAKE_MATCH_2} PARENT_SCOPE)
  cocola_major_of_header(${COCOLA_CUDA_INCLUDE}/cuda_runtime_api.h CUDART_VERSION header)
  cocola_major_of_header(${COCOLA_CUBLAS_INCLUDE}/cublas_api.h CUBLAS_VER_MAJOR blas_header)
  cocola_major_of_library(${COCOLA_CUDART} runtime)
  cocola_major_of_library(${COCOLA_CUBLAS} blas)
  set(${problem} "" PARENT_SCOPE)
  if(NOT "${header} ${blas_header} ${runtime} ${blas}" STREQUAL "${major} ${major} ${major} ${major}")
    set(${problem} "nvcc ${major} (${COCOLA_NVCC}), CUDA headers ${header} and ${blas_header} \
(${COCOLA_CUDA_INCLUDE}, ${COCOLA_CUBLAS_INCLUDE}), libraries ${runtime} and ${blas} (${COCOLA_CUDART}, \
${COCOLA_CUBLAS}): versions do not go together; set CUDAToolkit_ROOT" PARENT_SCOPE)
  endif()
endfunction()

# ---- choosing ------------------------------------------------------------------------------------

if(COCOLA_CUDA STREQUAL "EMULATED")
  enable_language(CXX)
  set(COCOLA_CUDA_KIND EMULATED)
  add_subdirectory(${CMAKE_SOURCE_DIR}/tests/emulator)
  target_link_libraries(cocola_cuda INTERFACE cocola_emulator)
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/emulator/include/nccl.h)
    set(COCOLA_HAVE_NCCL ON)
  endif()
elseif(NOT COCOLA_CUDA STREQUAL "OFF")
  cocola_find_cuda()
  cocola_check_cuda(problem)
  # nvcc looks for its libraries in lib64, Python packages have them in lib: for CMake's trials
  if(NOT problem)
    get_filename_component(folder ${COCOLA_CUDART} DIRECTORY)
    set(ENV{LIBRARY_PATH} "${folder}:$ENV{LIBRARY_PATH}")
  endif()
  if(NOT problem AND COCOLA_CUDA STREQUAL "AUTO" AND NOT CMAKE_CUDA_COMPILER)
    # an nvcc that finds no fitting C++ compiler must not end a build that can do without
    set(ENV{CUDACXX} ${COCOLA_NVCC})
    include(CheckLanguage)
    check_language(CUDA)
    if(NOT CMAKE_CUDA_COMPILER)
      set(problem "${COCOLA_NVCC} compiles nothing here; is there a C++ compiler that it accepts?")
    endif()
  endif()
  if(problem AND COCOLA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "COCOLA_CUDA=ON: ${problem}")
  elseif(problem)
    message(STATUS "Backend cuda is left out: ${problem}")
  else()
    set(COCOLA_CUDA_KIND REAL)
  endif()
endif()

# ---- the real one --------------------------------------------------------------------------------

if(COCOLA_CUDA_KIND STREQUAL "REAL")
  set(architectures "${COCOLA_CUDA_ARCH}")
  if(NOT architectures AND COCOLA_CUDA_VERSION VERSION_LESS 12.8)
    set(architectures 80-real 90) # knows no 100
  elseif(NOT architectures)
    set(architectures 80-real 90-real 100)
  endif()
  set(CMAKE_CUDA_COMPILER ${COCOLA_NVCC})
  set(CMAKE_CUDA_ARCHITECTURES ${architectures})
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  set(CMAKE_CUDA_RUNTIME_LIBRARY None) # linked by its path, below
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
  target_include_directories(cocola_cuda SYSTEM INTERFACE ${COCOLA_CUDA_INCLUDE} ${COCOLA_CUBLAS_INCLUDE})
  target_link_libraries(cocola_cuda INTERFACE ${COCOLA_CUBLAS} ${COCOLA_CUDART})
  if(COCOLA_NCCL STREQUAL "OFF")
    message(STATUS "Communicator nccl is left out: COCOLA_NCCL=OFF")
  elseif(COCOLA_NCCL_INCLUDE AND COCOLA_NCCL_LIBRARY)
    set(COCOLA_HAVE_NCCL ON)
    target_include_directories(cocola_nccl SYSTEM INTERFACE ${COCOLA_NCCL_INCLUDE})
    target_link_libraries(cocola_nccl INTERFACE ${COCOLA_NCCL_LIBRARY})
  elseif(COCOLA_NCCL STREQUAL "ON")
    message(FATAL_ERROR "COCOLA_NCCL=ON, but nccl.h or libnccl was not found")
  else()
    message(STATUS "Communicator nccl is left out: nccl.h or libnccl was not found")
  endif()
  # Toolkits and Python packages lie where no loader looks; CMake takes a toolkit's folder for one of the
  # system's and would not remember it.
  foreach(library ${COCOLA_CUDART} ${COCOLA_CUBLAS} ${COCOLA_NCCL_LIBRARY})
    get_filename_component(folder ${library} DIRECTORY)
    if(NOT folder MATCHES "^(/usr)?/lib(64)?(/|$)" AND NOT folder IN_LIST CMAKE_BUILD_RPATH)
      list(APPEND CMAKE_BUILD_RPATH ${folder})
    endif()
  endforeach()
  set(CMAKE_INSTALL_RPATH ${CMAKE_BUILD_RPATH})
  set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
elseif(COCOLA_NCCL STREQUAL "ON" AND NOT COCOLA_HAVE_NCCL)
  message(FATAL_ERROR "COCOLA_NCCL=ON needs COCOLA_CUDA=ON")
endif()
target_link_libraries(cocola_nccl INTERFACE cocola_cuda)
if(COCOLA_CUDA_KIND STREQUAL "REAL")
  message(STATUS "Backend cuda: CUDA ${COCOLA_CUDA_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}, NCCL: ${COCOLA_HAVE_NCCL}")
elseif(COCOLA_CUDA_KIND)
  message(STATUS "Backend cuda: emulated on the CPU, NCCL: ${COCOLA_HAVE_NCCL}")
endif()

# ---- building ------------------------------------------------------------------------------------

# Spills and local memory in a kernel are errors: each is a mistake or a decision to be made. What ptxas
# says of every kernel is kept beside the objects for tests/kernel_table.py.
find_program(COCOLA_PYTHON3 python3)
if(COCOLA_PYTHON3)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${COCOLA_PYTHON3} ${CMAKE_SOURCE_DIR}/cmake/keep_ptxas.py)
endif()
set(COCOLA_NVCC_FLAGS -lineinfo -Xptxas=-v -Xptxas=-warn-spills -Xptxas=-warn-lmem-usage -Xcompiler=-Wall,-Wextra)
set(COCOLA_EMULATED_FLAGS -xc++ -Wall -Wextra -Wno-unknown-pragmas -Wno-uninitialized -Wno-maybe-uninitialized)
if(COCOLA_WERROR)
  list(APPEND COCOLA_NVCC_FLAGS -Xptxas=-Werror -Werror=all-warnings -Xcompiler=-Werror)
  list(APPEND COCOLA_EMULATED_FLAGS -Werror)
endif()

function(cocola_add_cuda target folder)
  if(NOT COCOLA_CUDA_KIND)
    return()
  endif()
  file(GLOB host CONFIGURE_DEPENDS ${folder}/*.c)
  file(GLOB kernels CONFIGURE_DEPENDS ${folder}/*.cu)
  target_sources(${target} PRIVATE ${host} ${kernels})
  target_link_libraries(${target} PUBLIC cocola_cuda)
  if(COCOLA_CUDA_KIND STREQUAL "EMULATED")
    set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "${COCOLA_EMULATED_FLAGS}")
  else()
    set_source_files_properties(${kernels} PROPERTIES COMPILE_OPTIONS "${COCOLA_NVCC_FLAGS}")
  endif()
endfunction()
