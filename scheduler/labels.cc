#include "scheduler/labels.h"

#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/strings/string_view.h>
#include <absl/strings/strip.h>

#include <algorithm>

namespace ray_engine {
namespace {

bool Fits(absl::string_view expression, const std::string* value) {
  if (absl::ConsumePrefix(&expression, "!")) return !Fits(expression, value);
  if (expression == "exists()") return value != nullptr;
  if (value == nullptr) return false;
  if (!absl::ConsumePrefix(&expression, "in(") || !absl::ConsumeSuffix(&expression, ")")) return *value == expression;
  for (const absl::string_view one : absl::StrSplit(expression, ',')) {
    if (absl::StripAsciiWhitespace(one) == *value) return true;
  }
  return false;
}

}  // namespace

const std::string* FindLabel(const Labels& labels, const std::string& name) {
  const auto found =
      std::find_if(labels.begin(), labels.end(), [&name](const auto& label) { return label.first == name; });
  return found == labels.end() ? nullptr : &found->second;
}

bool MatchesLabels(const LabelSelector& selector, const Labels& labels) {
  return std::all_of(selector.begin(), selector.end(),
                     [&labels](const auto& wish) { return Fits(wish.second, FindLabel(labels, wish.first)); });
}

std::string SelectorText(const LabelSelector& selector) {
  return "{" + absl::StrJoin(selector, ", ", absl::PairFormatter(": ")) + "}";
}

}  // namespace ray_engine
