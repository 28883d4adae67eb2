# halfback_page(CONSTANT PAGE PART...): makes an HTML file a text of halfback_core, halfback::CONSTANT. In it "{{NAME}}" stands for
# the part of that name. So a page is several files for who edits it, and part of the library for who uses it.
set(HALFBACK_PAGE_TEMPLATE ${CMAKE_CURRENT_LIST_DIR}/page.cpp.in)
function(halfback_page HALFBACK_PAGE_CONSTANT page)
  file(READ ${page} HALFBACK_PAGE)
  foreach(part ${ARGN})
    get_filename_component(name ${part} NAME)
    file(READ ${part} text)
    string(REPLACE "{{${name}}}" "${text}" HALFBACK_PAGE "${HALFBACK_PAGE}")
  endforeach()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page} ${ARGN} ${HALFBACK_PAGE_TEMPLATE})
  configure_file(${HALFBACK_PAGE_TEMPLATE} ${CMAKE_CURRENT_BINARY_DIR}/${HALFBACK_PAGE_CONSTANT}.cpp @ONLY)
  target_sources(halfback_core PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/${HALFBACK_PAGE_CONSTANT}.cpp)
endfunction()
