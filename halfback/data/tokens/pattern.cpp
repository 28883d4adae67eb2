#include "halfback/data/tokens/pattern.h"

#include "halfback/base/error.h"
#include "halfback/base/json.h"
#include "halfback/data/tokens/characters.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace halfback {

namespace {

// Returns a pattern of PCRE2's with the meaning that Oniguruma gives it.
class Translation {
 public:
  Translation(std::string_view regex, const std::string& part)
      : regex_(regex), rest_(regex), part_(part) {}

  std::string whole() {
    while (!rest_.empty()) {
      const char next = rest_.front();
      if (next == '\\') {
        escape();
      } else if (is_in_class_) {
        in_class();
      } else if (next == '[') {
        open_class();
      } else if (next == '(') {
        group();
      } else if (next == '{') {
        repetition();
      } else {
        take(1);
      }
    }
    return made_;
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw FileError(fmt::format(
        "{}: {} in the pattern {} is not supported; expected classes, groups, repetitions, looking "
        "ahead and general categories; use a model with another tokenizer",
        part_, quote(what), quote(regex_)));
  }

  void take(std::size_t count) {
    made_ += rest_.substr(0, count);
    rest_.remove_prefix(count);
  }

  // Appends a set of characters; `items` are what stands inside of a class.
  void append_set(std::string_view items, bool is_negative, std::size_t length) {
    if (is_in_class_ && is_negative) {
      refuse(rest_.substr(0, length));
    }
    made_ +=
        is_in_class_ ? std::string(items) : fmt::format("[{}{}]", is_negative ? "^" : "", items);
    rest_.remove_prefix(length);
  }

  // Returns a general category, with the characters that PCRE2 may be too old for.
  static std::string category(std::string_view name) {
    std::string items = fmt::format("\\p{{{}}}", name);
    for (const auto& [first, last] : young_characters(name)) {
      items += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", first, last);
    }
    return items;
  }

  void property() {
    const std::size_t end = std::min(rest_.find('}'), rest_.size() - 1);
    const std::string_view whole = rest_.substr(0, end + 1);
    std::string_view name = whole.substr(0, whole.size() - 1);
    name.remove_prefix(std::min<std::size_t>(name.size(), 3));
    bool is_negative = whole[1] == 'P';
    if (name.starts_with('^')) {
      name.remove_prefix(1);
      is_negative = !is_negative;
    }
    constexpr std::string_view kMajors = "LMNPSZ";
    constexpr std::string_view kKnown =
        " Lu Ll Lt Lm Lo Mn Me Mc Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm "
        "Sc Sk So Zs Zl Zp ";
    const bool is_known =
        name.size() == 1
            ? kMajors.find(name) != std::string_view::npos
            : name.size() == 2 && kKnown.find(fmt::format(" {} ", name)) != std::string_view::npos;
    if (!is_known || whole.back() != '}') {
      refuse(whole);
    }
    append_set(category(name), is_negative, whole.size());
  }

  void escape() {
    const char kind = rest_.size() > 1 ? rest_[1] : '\0';
    if (kind == 'p' || kind == 'P') {
      property();
    } else if (kind == 's' || kind == 'S') {
      append_set("\\p{Z}\\t-\\r\\x{85}", kind == 'S', 2);
    } else if (kind == 'd' || kind == 'D') {
      append_set(category("Nd"), kind == 'D', 2);
    } else if (kind == 'w' || kind == 'W') {
      append_set("_a-zA-Z0-9\\p{Alphabetic}" + category("L") + category("M") + category("Nd") +
                     category("Pc"),
                 kind == 'W', 2);
    } else if (std::string_view("rntf").find(kind) != std::string_view::npos ||
               (kind >= '!' && kind <= '~' && !is_letter_or_digit(kind))) {
      take(2);
    } else {
      refuse(rest_.substr(0, 2));
    }
  }

  static bool is_letter_or_digit(char one) {
    return (one >= '0' && one <= '9') || (one >= 'a' && one <= 'z') || (one >= 'A' && one <= 'Z');
  }

  void open_class() {
    is_in_class_ = true;
    take(rest_.starts_with("[^") ? 2 : 1);
    if (rest_.starts_with(']')) {
      refuse("[]");
    }
  }

  void in_class() {
    if (rest_.starts_with('[') || rest_.starts_with("&&")) {
      refuse(rest_.substr(0, 2));
    }
    is_in_class_ = rest_.front() != ']';
    take(1);
  }

  void group() {
    constexpr auto kKinds = std::to_array<std::string_view>(
        {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?i)", "(?-i:"});
    const auto* const kind = std::find_if(
        kKinds.begin(), kKinds.end(), [&](std::string_view one) { return rest_.starts_with(one); });
    if (kind == kKinds.end() && rest_.starts_with("(?")) {
      refuse(rest_.substr(0, 3));
    }
    take(kind == kKinds.end() ? 1 : kind->size());
  }

  void repetition() {
    const std::size_t end = rest_.find('}');
    const std::string_view numbers = rest_.substr(1, end == std::string_view::npos ? 0 : end - 1);
    const bool is_counted = !numbers.empty() && numbers.front() != ',' &&
                            numbers.find_first_not_of("0123456789,") == std::string_view::npos;
    if (!is_counted || rest_.substr(end + 1).starts_with('+')) {
      refuse(rest_.substr(0, end == std::string_view::npos ? 1 : end + 2));
    }
    take(end + 1);
  }

  std::string_view regex_;
  std::string_view rest_;
  const std::string& part_;
  std::string made_;
  bool is_in_class_ = false;
};

std::shared_ptr<void> compile(const std::string& pattern,
                              std::uint32_t options,
                              const std::string& part) {
  const auto text_of = [](int error) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(error, text.data(), text.size());
    return std::string(reinterpret_cast<const char*>(text.data()));
  };
  int error = 0;
  PCRE2_SIZE place = 0;
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_code* const code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | options, &error, &place, context.get());
  if (code == nullptr) {
    throw FileError(
        fmt::format("{}: PCRE2 cannot compile the pattern {}: {}; use a model with "
                    "another tokenizer",
                    part, quote(pattern), text_of(error)));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // faster where the processor has it
  return {code, [](void* made) { pcre2_code_free(static_cast<pcre2_code*>(made)); }};
}

// The stack of compiled patterns on this thread.
pcre2_match_context* match_context() {
  struct Context {
    Context() { pcre2_jit_stack_assign(context, nullptr, stack); }
    ~Context() {
      pcre2_jit_stack_free(stack);
      pcre2_match_context_free(context);
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    pcre2_match_context* context = pcre2_match_context_create(nullptr);
    pcre2_jit_stack* stack =
        pcre2_jit_stack_create(std::size_t{1} << 15, std::size_t{1} << 26, nullptr);
  };
  thread_local const Context own;
  return own.context;
}

}  // namespace

Pattern::Pattern(const nlohmann::json& json, const std::string& part) {
  const bool is_object = json.is_object() && json.size() == 1 && json.begin()->is_string();
  if (is_object && json.contains("String")) {
    code_ = compile(json["String"].get<std::string>(), PCRE2_LITERAL, part);
  } else if (is_object && json.contains("Regex")) {
    const auto regex = json["Regex"].get<std::string>();
    code_ = compile(Translation(regex, part).whole(), PCRE2_MULTILINE, part);
  } else {
    throw FileError(
        fmt::format("{}: the pattern {} is not supported; expected a String or a Regex; use a "
                    "model with another tokenizer",
                    part, quote(json.dump())));
  }
}

Pattern Pattern::of_regex(const std::string& regex) {
  return {nlohmann::json{{"Regex", regex}}, "pattern"};
}

void Pattern::for_each_match(std::string_view text,
                             const std::function<void(std::size_t, std::size_t)>& on_match) const {
  const auto* const code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> found(
      pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
  for (std::size_t at = 0; at <= text.size();) {
    const int result = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                   PCRE2_NO_UTF_CHECK, found.get(), match_context());
    if (result == PCRE2_ERROR_NOMATCH) {
      return;
    }
    if (result < 0) {
      throw FileError(
          fmt::format("tokenizer: a pattern gives up at {} (PCRE2 error {}); use a model with "
                      "another tokenizer",
                      quote(text.substr(at, 40)), result));
    }
    const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(found.get());
    on_match(ends[0], ends[1]);
    at = ends[1];
    if (ends[0] == ends[1]) {  // an empty match
      at += at < text.size() ? front_length(text.substr(at)) : 1;
    }
  }
}

}  // namespace halfback
