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

// This thread's stack for compiled patterns.
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

void for_each_match_of(const std::shared_ptr<void>& compiled,
                       std::string_view text,
                       const std::function<void(std::size_t, std::size_t)>& on_match) {
  const auto* const code = static_cast<const pcre2_code*>(compiled.get());
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

// Matches what both understand alike, up to the end or to the first other part.
constexpr const char* kGrammar = R"((?x)
  (?(DEFINE)
    (?<category> L[ultmo]? | M[nec]? | N[dlo]? | P[cdseifo]? | S[mcko]? | Z[slp]? )
    (?<sign> \\ [rntf!-/:-@\[-`{-~] )
    (?<set> \\ (?: [sdw] | p\{(?&category)\} | P\{\^(?&category)\} ) )
    (?<complement> \\ (?: [SDW] | P\{(?&category)\} | p\{\^(?&category)\} ) )
    (?<group> \( (?: \? (?: [:=!>] | <[=!] | -?i: | i\) ) | (?![?*]) ) )
    (?<repetition> \{ [0-9] [0-9,]* \} (?!\+) )
  )
  ^ (?: [^\\\[({] | (?&sign) | (?&set) | (?&complement) | (?&group) | (?&repetition)
      | \[ \^?+ (?!\]) (?: [^\\\[\]&] | & (?!&) | (?&sign) | (?&set) )* (?: \] | (*ACCEPT) ) )*
)";

// A class, or an escape.
constexpr const char* kParts = R"(\[(?:\\.|[^\\\]])*\]?|\\(?:[pP]\{[^}]*\}|.))";

// Returns a general category, plus characters that PCRE2 may be too old for.
std::string category(std::string_view name) {
  std::string items = fmt::format("\\p{{{}}}", name);
  for (const auto& [first, last] : young_characters(name)) {
    items += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", first, last);
  }
  return items;
}

// Returns the characters of \s, \S, \p{...} and so on, as written inside a class, ignoring whether
// they are negated; "" for an escape of one character.
std::string items_of(std::string_view escape) {
  switch (escape[1]) {
    case 's':
    case 'S':
      return "\\p{Z}\\t-\\r\\x{85}";
    case 'd':
    case 'D':
      return category("Nd");
    case 'w':
    case 'W':
      return "_a-zA-Z0-9\\p{Alphabetic}" + category("L") + category("M") + category("Nd") +
             category("Pc");
    case 'p':
    case 'P': {
      const std::string_view name = escape.substr(3, escape.size() - 4);
      return category(name.substr(name.starts_with('^') ? 1 : 0));
    }
    default:
      return "";
  }
}

// Returns the PCRE2 pattern that means what Oniguruma would understand.
std::string translated(std::string_view regex, bool is_in_class) {
  static const auto parts = compile(kParts, PCRE2_DOTALL, "pattern");
  std::string made;
  std::size_t done = 0;
  for_each_match_of(parts, regex, [&](std::size_t begin, std::size_t end) {
    const std::string_view part = regex.substr(begin, end - begin);
    made += regex.substr(done, begin - done);
    done = end;
    if (part.front() == '[') {
      made += "[" + translated(part.substr(1), true);
    } else if (const std::string items = items_of(part); items.empty()) {
      made += part;
    } else if (is_in_class) {
      made += items;
    } else {
      const bool is_upper = part[1] >= 'A' && part[1] <= 'Z';
      const bool is_complement = is_upper != (part.find('^') != std::string_view::npos);
      made += fmt::format("[{}{}]", is_complement ? "^" : "", items);
    }
  });
  return made.append(regex, done);
}

void check_regex(std::string_view regex, const std::string& part) {
  static const auto grammar = compile(kGrammar, 0, "pattern");
  for_each_match_of(grammar, regex, [&](std::size_t /*begin*/, std::size_t end) {
    if (const std::string_view unknown = regex.substr(end); !unknown.empty()) {
      throw FileError(fmt::format(
          "{}: {} in the pattern {} is not supported; expected classes, groups, repetitions, "
          "looking ahead and general categories; use a model with another tokenizer",
          part, quote(unknown), quote(regex)));
    }
  });
}

}  // namespace

Pattern::Pattern(const nlohmann::json& json, const std::string& part) {
  const bool is_object = json.is_object() && json.size() == 1 && json.begin()->is_string();
  if (is_object && json.contains("String")) {
    code_ = compile(json["String"].get<std::string>(), PCRE2_LITERAL, part);
  } else if (is_object && json.contains("Regex")) {
    const auto regex = json["Regex"].get<std::string>();
    check_regex(regex, part);
    code_ = compile(translated(regex, false), PCRE2_MULTILINE, part);
  } else {
    throw FileError(
        fmt::format("{}: the pattern {} is not supported; expected a String or a Regex; use a "
                    "model with another tokenizer",
                    part, quote(json.dump())));
  }
}

void Pattern::for_each_match(std::string_view text,
                             const std::function<void(std::size_t, std::size_t)>& on_match) const {
  for_each_match_of(code_, text, on_match);
}

std::string Pattern::replace(std::string_view text, std::string_view content) const {
  std::string made;
  std::size_t done = 0;
  for_each_match(text, [&](std::size_t begin, std::size_t end) {
    made.append(text, done, begin - done).append(content);
    done = end;
  });
  return made.append(text, done);
}

}  // namespace halfback
