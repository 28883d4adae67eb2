// The page of study_page.h as text, made from the files beside this one when the build is
// configured.
#pragma once

#include <string_view>

namespace halfback {

// Contains the placeholder "{{data}}" once.
extern const std::string_view kStudyPage;

}  // namespace halfback
