// Labels: does a node have the labels that a request wants?
//
// A selector names labels and what their values must be, one expression a label:
//   v            is v                   !v           is not v, or the node has no such label
//   in(a,b)      is one of them         !in(a,b)     is none of them, or there is none
//   exists()     the node has it        !exists()    it has not
//
// Pure functions.

#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ray_engine {

using Labels = std::vector<std::pair<std::string, std::string>>;
using LabelSelector = std::vector<std::pair<std::string, std::string>>;  // label -> expression

// Null: there is no such label.
const std::string* FindLabel(const Labels& labels, const std::string& name);
bool MatchesLabels(const LabelSelector& selector, const Labels& labels);
// {market: spot, zone: in(a,b)}; for people.
std::string SelectorText(const LabelSelector& selector);

}  // namespace ray_engine
