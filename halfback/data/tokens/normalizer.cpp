#include "halfback/data/tokens/normalizer.h"

#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/pattern.h"

#include <algorithm>
#include <array>
#include <memory>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>
#include <utility>
#include <vector>

namespace halfback {

namespace {

using MakeForm = const icu::Normalizer2* (*)(UErrorCode&);

// Returns the length of a beginning that ends before an ASCII character: no form looks beyond one.
std::size_t block_length(std::string_view text) {
  constexpr std::size_t kShortest = 4096;
  const auto is_ascii = [](char one) { return static_cast<unsigned char>(one) < 0x80; };
  const auto* const from = text.begin() + std::min(kShortest, text.size());
  return static_cast<std::size_t>(std::find_if(from, text.end(), is_ascii) - text.begin());
}

// A Unicode normalization form, limited to Unicode 9 as in the library: newer ones do not change.
Normalizer unicode_form(MakeForm make) {
  UErrorCode error = U_ZERO_ERROR;
  static const icu::UnicodeSet known = [] {
    UErrorCode failed = U_ZERO_ERROR;
    icu::UnicodeSet made(u"[:Age=9.0:]", failed);
    HALFBACK_CHECK(U_SUCCESS(failed), u_errorName(failed));
    made.freeze();
    return made;
  }();
  const icu::Normalizer2* const all = make(error);
  HALFBACK_CHECK(U_SUCCESS(error), u_errorName(error));
  const auto form = std::make_shared<const icu::FilteredNormalizer2>(*all, known);
  return [form](const std::string& text) {
    std::string made;
    made.reserve(text.size());
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t end = block_length(rest);
      UErrorCode failed = U_ZERO_ERROR;
      icu::StringByteSink<std::string> sink(&made);
      form->normalizeUTF8(0, icu::StringPiece(rest.data(), static_cast<std::int32_t>(end)), sink,
                          nullptr, failed);
      HALFBACK_CHECK(U_SUCCESS(failed), u_errorName(failed));
      rest.remove_prefix(end);
    }
    return made;
  };
}

Normalizer without(bool (*is_removed)(char32_t)) {
  return [is_removed](const std::string& text) {
    return map_characters(text, [is_removed](char32_t one, std::string& to) {
      if (!is_removed(one)) {
        append(one, to);
      }
    });
  };
}

std::string lower_case(const std::string& text) { return map_characters(text, append_lower_case); }

Normalizer in_sequence(std::vector<Normalizer> steps) {
  return [steps = std::move(steps)](std::string text) {
    for (const Normalizer& step : steps) {
      text = step(std::move(text));
    }
    return text;
  };
}

std::string clean(const std::string& text) {
  return map_characters(text, [](char32_t one, std::string& to) {
    if (one != 0 && one != 0xFFFD && !is_control_of_bert(one)) {
      append(is_white_space(one) ? U' ' : one, to);
    }
  });
}

bool is_chinese(char32_t one) {
  const auto is_in = [one](char32_t first, char32_t last) { return first <= one && one <= last; };
  return is_in(0x4E00, 0x9FFF) || is_in(0x3400, 0x4DBF) || is_in(0x20000, 0x2A6DF) ||
         is_in(0x2A700, 0x2B81F) || is_in(0x2B920, 0x2CEAF) || is_in(0xF900, 0xFAFF) ||
         is_in(0x2F800, 0x2FA1F);
}

std::string space_chinese(const std::string& text) {
  return map_characters(text, [](char32_t one, std::string& to) {
    if (is_chinese(one)) {
      to += ' ';
    }
    append(one, to);
    if (is_chinese(one)) {
      to += ' ';
    }
  });
}

Normalizer bert(Fields& fields) {
  std::vector<Normalizer> steps;
  const bool is_lower = fields.get<bool>("lowercase", true);
  if (fields.get<bool>("clean_text", true)) {
    steps.emplace_back(clean);
  }
  if (fields.get<bool>("handle_chinese_chars", true)) {
    steps.emplace_back(space_chinese);
  }
  if (fields.get<bool>("strip_accents", is_lower)) {
    steps.push_back(unicode_form(icu::Normalizer2::getNFDInstance));
    steps.push_back(without(is_accent_of_bert));
  }
  if (is_lower) {
    steps.emplace_back(lower_case);
  }
  return in_sequence(std::move(steps));
}

Normalizer strip(Fields& fields) {
  return [left = fields.get<bool>("strip_left"),
          right = fields.get<bool>("strip_right")](const std::string& text) {
    std::string_view kept = text;
    kept = left ? without_space_in_front(kept) : kept;
    return std::string(right ? without_space_behind(kept) : kept);
  };
}

Normalizer replace(Fields& fields) {
  const Pattern pattern(fields.find("pattern"), fields.part());
  return [pattern, content = fields.get<std::string>("content")](const std::string& text) {
    return pattern.replace(text, content);
  };
}

Normalizer sequence(Fields& fields) {
  std::vector<Normalizer> steps;
  for (const nlohmann::json& one : fields.find("normalizers")) {
    steps.push_back(make_normalizer(one, fields.part()));
  }
  return in_sequence(std::move(steps));
}

Normalizer prepend(Fields& fields) {
  return [front = fields.get<std::string>("prepend")](const std::string& text) {
    return text.empty() ? text : front + text;
  };
}

Normalizer precompiled(Fields& fields) {
  return make_precompiled(fields.get<std::string>("precompiled_charsmap"), fields.part());
}

template <MakeForm make>
Normalizer form(Fields& /*fields*/) {
  return unicode_form(make);
}

constexpr auto kKinds = std::to_array<Kind<Normalizer>>(
    {{"BertNormalizer", bert},
     {"Lowercase", [](Fields& /*fields*/) -> Normalizer { return lower_case; }},
     {"NFC", form<icu::Normalizer2::getNFCInstance>},
     {"NFD", form<icu::Normalizer2::getNFDInstance>},
     {"NFKC", form<icu::Normalizer2::getNFKCInstance>},
     {"NFKD", form<icu::Normalizer2::getNFKDInstance>},
     {"Precompiled", precompiled},
     {"Prepend", prepend},
     {"Replace", replace},
     {"Sequence", sequence},
     {"Strip", strip},
     {"StripAccents", [](Fields& /*fields*/) { return without(is_mark); }}});

}  // namespace

Normalizer make_normalizer(const nlohmann::json& json, const std::string& part) {
  return read_part<Normalizer>(
      json, part, [](std::string text) { return text; }, kKinds);
}

}  // namespace halfback
