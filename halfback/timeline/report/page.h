// The page of report.h as text, made from page.html and curves.js when the build is configured.
#pragma once

#include <string_view>

namespace halfback {

// Contains the placeholder "{{data}}" once.
extern const std::string_view kReportPage;

}  // namespace halfback
