#include "cli/terminal.h"

#include "halfback/timeline/report/colors.h"

#include <fmt/color.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <unistd.h>

namespace halfback::cli {

namespace {

// Returns the color of a letter of a grid (text_grid.h); "" for none.
std::string_view color_of_letter(char letter) {
  const auto* const found = std::ranges::find_if(kKinds, [letter](const KindTraits& row) {
    return letter != ' ' && (row.cell == letter || row.letters == std::string_view(&letter, 1));
  });
  return found == kKinds.end() ? "" : color_of(found->kind);
}

// Parses "#rrggbb".
fmt::text_style on(std::string_view color) {
  const unsigned long value = std::stoul(std::string(color.substr(1)), nullptr, 16);
  return fmt::fg(fmt::color::black) | fmt::bg(fmt::rgb(static_cast<std::uint32_t>(value)));
}

void append_row(std::string_view line, std::string& text) {
  const std::size_t label = line.find("  ");
  text += line.substr(0, label);
  std::string_view running;  // "--" continues the previous action
  for (const char letter : line.substr(std::min(label, line.size()))) {
    if (const std::string_view color = color_of_letter(letter); !color.empty()) {
      running = color;
    } else if (letter == '.' || letter == ' ') {
      running = "";
    }
    if (running.empty()) {
      text += letter;
    } else {
      fmt::format_to(std::back_inserter(text), on(running), "{}", letter);
    }
  }
}

}  // namespace

std::string colored(const std::string& grid) {
  std::string text;
  for (std::size_t begin = 0; begin < grid.size();) {
    const std::size_t end = std::min(grid.find('\n', begin), grid.size());
    const std::string_view line = std::string_view(grid).substr(begin, end - begin);
    if (line.starts_with("rank ") || line.starts_with("  ")) {  // a rank's line, or its reductions
      append_row(line, text);
    } else {
      text += line;
    }
    text += '\n';
    begin = end + 1;
  }
  return text;
}

std::string for_terminal(const std::string& grid) {
  return isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr ? colored(grid) : grid;
}

}  // namespace halfback::cli
