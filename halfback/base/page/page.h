// Pages for a browser: one HTML file each, without a network, whose data lies in a script element.
// page.css and page.js are what the pages share; cmake/Page.cmake puts them in.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

namespace halfback {

// Returns the page with the data in the place of "{{data}}". No text in the data ends its script
// element or begins a comment in it; bytes that are not UTF-8 are replaced.
std::string with_data(std::string_view page, const nlohmann::json& data);

}  // namespace halfback
