# ctest entries on the objects of the levels: no weak symbols in any, vector FMAs, or tiles, in those that have the instruction.
set(levels_with_fma ${TENON_LEVELS})
list(REMOVE_ITEM levels_with_fma baseline)
set(levels_with_objects ${TENON_LEVELS})
if(TENON_HAS_TILES)
  list(APPEND levels_with_fma amx)
  list(APPEND levels_with_objects amx amx_emulated)
endif()
list(TRANSFORM levels_with_objects REPLACE "(.+)" "$<TARGET_OBJECTS:tenon_micro_\\1>" OUTPUT_VARIABLE micro_objects)
add_test(NAME symbols COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -P ${CMAKE_CURRENT_LIST_DIR}/symbols.cmake --
                              ${micro_objects} COMMAND_EXPAND_LISTS)
foreach(level IN LISTS levels_with_fma)
  add_test(NAME disassembly_${level}
           COMMAND ${CMAKE_COMMAND} -DISA=${level} -DOBJDUMP=${CMAKE_OBJDUMP} -P
                   ${CMAKE_CURRENT_LIST_DIR}/disassembly.cmake -- $<TARGET_OBJECTS:tenon_micro_${level}>
                   COMMAND_EXPAND_LISTS)
endforeach()
