# Writes ${HEADER}, if it changes: which revision of ${SOURCE} is built. Run at every build, since a
# configured folder lives longer than a commit. Empty where there is no repository.
execute_process(COMMAND git describe --always --dirty --abbrev=12 WORKING_DIRECTORY ${SOURCE}
                OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
                RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  set(revision "")
endif()
set(text "#define COCOLA_REVISION \"${revision}\"\n")
if(EXISTS ${HEADER})
  file(READ ${HEADER} before)
endif()
if(NOT "${before}" STREQUAL "${text}")
  file(WRITE ${HEADER} "${text}")
endif()
