#include "scheduler/unit_books.h"

#include <absl/strings/numbers.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/accelerators.h"

namespace ray_engine {
namespace {

using Amount = ResourceSet::Amount;
constexpr std::string_view kGroup = "_group_";

// Takes a name such as GPU_group_2_<id> apart.
struct Name {
  std::string resource, group;
  std::optional<std::uint32_t> bundle;

  explicit Name(const std::string& name) : resource(name.substr(0, name.find(kGroup))) {
    if (resource.size() == name.size()) return;
    group = name.substr(resource.size() + kGroup.size());
    const std::size_t index = group.find('_');
    std::uint32_t number = 0;
    if (index == std::string::npos || !absl::SimpleAtoi(group.substr(0, index), &number)) return;
    bundle = number;
    group = group.substr(index + 1);
  }
};

}  // namespace

// What runs in a certain bundle asks for its resources under the group's name too: these are the same units.
UnitAsk UnitAsk::Of(const ResourceSet& resources) {
  UnitAsk any, certain;
  for (const auto& [text, amount] : resources.entries()) {
    if (!IsUnitResource(std::string_view(text).substr(0, text.find(kGroup)))) continue;
    const Name name(text);
    UnitAsk& ask = name.bundle ? certain : any;
    ask.group = name.group;
    ask.bundle = name.bundle;
    ask.amounts.emplace_back(name.resource, amount);
  }
  return certain.Empty() ? any : certain;
}

AssignedUnits Units::Numbers() const {
  AssignedUnits assigned;
  for (const auto& [resource, taken] : shares) {
    auto& numbers = assigned.emplace_back(resource, std::vector<std::uint32_t>()).second;
    for (const UnitShare& share : taken) numbers.push_back(share.unit);
    std::sort(numbers.begin(), numbers.end());
  }
  return assigned;
}

UnitBooks::UnitBooks(const ResourceSet& total) {
  for (const auto& [name, amount] : total.entries()) {
    if (!IsUnitResource(name)) continue;
    std::vector<Unit>& units = stocks_[StockName()][name];
    for (Amount left = amount; left > 0; left -= ResourceSet::kUnit) {
      const Amount capacity = std::min(left, ResourceSet::kUnit);
      units.push_back({static_cast<std::uint32_t>(units.size()), capacity, capacity});
    }
  }
}

std::optional<Units> UnitBooks::Choose(const UnitAsk& ask, Room room) const {
  Units units;
  if (ask.Empty()) return units;
  const StockName first{ask.group, ask.bundle.value_or(0)};
  for (auto it = stocks_.lower_bound(first); it != stocks_.end() && it->first.group == ask.group; ++it) {
    if (ask.bundle && it->first.bundle != *ask.bundle) break;
    units.stock = it->first;
    if (ChooseFrom(it->second, ask, room, &units)) return units;
  }
  return std::nullopt;
}

bool UnitBooks::ChooseFrom(const Stock& stock, const UnitAsk& ask, Room room, Units* units) {
  units->shares.clear();
  for (const auto& [resource, amount] : ask.amounts) {
    const auto pool = stock.find(resource);
    auto& shares = units->shares.emplace_back(resource, std::vector<UnitShare>()).second;
    if (pool == stock.end() || !ChooseShares(pool->second, amount, room, &shares)) return false;
  }
  return true;
}

bool UnitBooks::ChooseShares(const std::vector<Unit>& units, Amount amount, Room room, std::vector<UnitShare>* shares) {
  const Unit* in_part = nullptr;
  const Amount part = amount % ResourceSet::kUnit;
  for (const Unit& unit : units) {
    if (part > 0 && unit.*room >= part && (in_part == nullptr || unit.*room < in_part->*room)) in_part = &unit;
  }
  if (part > 0 && in_part == nullptr) return false;
  if (in_part != nullptr) shares->push_back({in_part->number, part});
  Amount left = amount - part;
  for (const Unit& unit : units) {
    if (left == 0) break;
    if (&unit == in_part || unit.*room < ResourceSet::kUnit) continue;
    shares->push_back({unit.number, ResourceSet::kUnit});
    left -= ResourceSet::kUnit;
  }
  return left == 0;
}

void UnitBooks::Move(const Units& units, int sign) {
  for (const auto& [resource, shares] : units.shares) {
    std::vector<Unit>& pool = stocks_.at(units.stock).at(resource);
    for (const UnitShare& share : shares) {
      const auto unit =
          std::find_if(pool.begin(), pool.end(), [&](const Unit& one) { return one.number == share.unit; });
      unit->free += sign * share.amount;
    }
  }
}

void UnitBooks::OpenBundle(const StockName& bundle, const Units& units) {
  if (units.Empty()) return;
  Take(units);
  Stock& stock = stocks_[bundle];
  for (const auto& [resource, shares] : units.shares) {
    for (const UnitShare& share : shares) stock[resource].push_back({share.unit, share.amount, share.amount});
  }
}

void UnitBooks::CloseBundle(const StockName& bundle) {
  const auto stock = stocks_.find(bundle);
  if (stock == stocks_.end()) return;
  Units units;
  for (const auto& [resource, pool] : stock->second) {
    auto& shares = units.shares.emplace_back(resource, std::vector<UnitShare>()).second;
    for (const Unit& unit : pool) shares.push_back({unit.number, unit.capacity});
  }
  stocks_.erase(stock);
  Give(units);
}

Amount UnitBooks::Free(const std::string& resource) const {
  Amount sum = 0;
  const auto own = stocks_.find(StockName());
  if (own == stocks_.end() || own->second.count(resource) == 0) return sum;
  for (const Unit& unit : own->second.at(resource)) sum += unit.free;
  return sum;
}

std::string UnitBooks::CheckInvariants() const {
  for (const auto& [name, stock] : stocks_) {
    for (const auto& [resource, pool] : stock) {
      for (const Unit& unit : pool) {
        if (unit.free < 0) return fmt::format("{} {} was given to too many", resource, unit.number);
        if (unit.free > unit.capacity) return fmt::format("{} {} was given back twice", resource, unit.number);
      }
    }
  }
  return "";
}

std::string UnitBooks::CheckAllFree() const {
  for (const auto& [name, stock] : stocks_) {
    for (const auto& [resource, pool] : stock) {
      for (const Unit& unit : pool) {
        if (unit.free != unit.capacity) return fmt::format("{} {} is lost, or held twice", resource, unit.number);
      }
    }
  }
  return "";
}

}  // namespace ray_engine
