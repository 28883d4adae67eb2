// A table of words that finds every word at the beginning of a text, shortest first.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfback {

class PrefixTable {
 public:
  // Takes words with a number each. Among equal words the first counts; empty words are ignored.
  explicit PrefixTable(std::vector<std::pair<std::string, std::int32_t>> words = {})
      : words_(std::move(words)) {
    const auto text = [](const auto& word) -> const std::string& { return word.first; };
    std::ranges::stable_sort(words_, {}, text);
    const auto repeated = std::ranges::unique(words_, {}, text);
    words_.erase(repeated.begin(), repeated.end());
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if (!words_[i].first.empty()) {
        ends_[static_cast<unsigned char>(words_[i].first.front())] = i + 1;
      }
    }
    for (std::size_t first = words_.empty() || !words_[0].first.empty() ? 0 : 1, byte = 0;
         byte < ends_.size(); ++byte) {
      begins_[byte] = first;
      first = ends_[byte] = std::max(ends_[byte], first);
    }
  }

  // Calls back with the length and the number of each word.
  template <typename Call>
  void for_each(std::string_view text, const Call& call) const {
    if (text.empty()) {
      return;
    }
    std::size_t begin = begins_[static_cast<unsigned char>(text.front())];
    std::size_t end = ends_[static_cast<unsigned char>(text.front())];
    for (std::size_t length = 1; begin < end; ++length) {
      if (words_[begin].first.size() == length) {
        call(length, words_[begin].second);
        ++begin;
      }
      if (length == text.size()) {
        return;
      }
      const auto byte_at = [length](const auto& word) {
        return static_cast<unsigned char>(word.first[length]);
      };
      const auto found =
          std::ranges::equal_range(words_.begin() + static_cast<std::ptrdiff_t>(begin),
                                   words_.begin() + static_cast<std::ptrdiff_t>(end),
                                   static_cast<unsigned char>(text[length]), {}, byte_at);
      begin = static_cast<std::size_t>(found.begin() - words_.begin());
      end = static_cast<std::size_t>(found.end() - words_.begin());
    }
  }

 private:
  std::vector<std::pair<std::string, std::int32_t>> words_;  // sorted
  std::array<std::size_t, 256> begins_{};                    // by the first byte
  std::array<std::size_t, 256> ends_{};
};

}  // namespace halfback
