// For tokenizers_agree.py: writes what tokenizers make of texts, which stand in a file, each behind
// a line with its length. The first line of the answers has what stands in front of a text and
// behind it, the second the mask. Then come for each text its tokens, and the bytes that they
// decode to: counts and tokens are numbers of 32 bits. One start takes many tokenizers: torch
// starts slowly.
#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/data/tokens/tokenizer_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using halfback::Tokenizer;

std::string decoded(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens) {
  const auto decoder = tokenizer.decoder();
  std::string text;
  for (const std::int32_t token : tokens) {
    text += decoder->add(token);
  }
  return text + decoder->finish();
}

void write_count(std::ostream& answers, std::size_t count) {
  const auto number = static_cast<std::int32_t>(count);
  answers.write(reinterpret_cast<const char*>(&number), sizeof(number));
}

void write_answers(const Tokenizer& tokenizer, std::string_view texts, std::ostream& answers) {
  answers << fmt::format("{}|{}\n{}\n", fmt::join(tokenizer.prefix(), " "),
                         fmt::join(tokenizer.suffix(), " "), tokenizer.mask_token());
  while (!texts.empty()) {
    const std::size_t line = texts.find('\n');
    const auto length = static_cast<std::size_t>(*halfback::parse_integer(texts.substr(0, line)));
    const std::vector<std::int32_t> tokens = tokenizer.encode(texts.substr(line + 1, length));
    write_count(answers, tokens.size());
    answers.write(reinterpret_cast<const char*>(tokens.data()),
                  static_cast<std::streamsize>(tokens.size() * sizeof(std::int32_t)));
    const std::string text = decoded(tokenizer, tokens);
    write_count(answers, text.size());
    answers << text;
    texts.remove_prefix(line + 1 + length);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4 || argc % 3 != 1) {
    std::cerr << "usage: exchange_tokens (TOKENIZER TEXTS ANSWERS)...\n";
    return 2;
  }
  for (int i = 1; i < argc; i += 3) {
    const halfback::TokenizerPointer tokenizer = halfback::load_tokenizer_of(argv[i]);
    std::ofstream answers(argv[i + 2], std::ios::binary);
    write_answers(*tokenizer, halfback::read_file(argv[i + 1]), answers);
    if (!answers.flush()) {
      std::cerr << "error: " << argv[i + 2] << " cannot be written\n";
      return 1;
    }
  }
  return 0;
} catch (const halfback::Error& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
