// UnitBooks: which units of a node's unit resources are free (see engine/base/accelerators.h).
//
// Of each unit the books keep how much is free. An amount is served by whole units and, for what is left of it, by a
// part of one more: of the unit with the least room that has enough, so that whole units stay whole. So 0.6 and 0.6 on
// two GPUs leave no room for 0.8.
//
// The units of a node are its own stock. A bundle of a placement group takes its units out of it and makes a stock of
// them, which serves what runs in the bundle. What may run in any bundle of a group gets all its units from one.
//
// Copyable; decides without I/O. Loop-bound (head loop).

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/resources.h"
#include "engine/wire/messages.h"

namespace ray_engine {

// The node's own stock (no group), or that of a bundle.
struct StockName {
  std::string group;  // hex
  std::uint32_t bundle = 0;
  friend bool operator<(const StockName& a, const StockName& b) {
    return a.group != b.group ? a.group < b.group : a.bundle < b.bundle;
  }
};

// The units that a request needs.
struct UnitAsk {
  std::string group;                    // empty: from the node's own stock
  std::optional<std::uint32_t> bundle;  // of the group; none: any
  std::vector<ResourceSet::Entry> amounts;

  bool Empty() const { return amounts.empty(); }
  static UnitAsk Of(const ResourceSet& resources);
};

struct UnitShare {
  std::uint32_t unit = 0;
  ResourceSet::Amount amount = 0;  // ResourceSet::kUnit: the whole unit
};

// Units that somebody has, all from one stock.
struct Units {
  StockName stock;
  std::vector<std::pair<std::string, std::vector<UnitShare>>> shares;  // resource and its units

  bool Empty() const { return shares.empty(); }
  AssignedUnits Numbers() const;  // as the worker is told
};

class UnitBooks {
 public:
  UnitBooks() = default;
  // A node with this total.
  explicit UnitBooks(const ResourceSet& total);

  // What would serve the request now. Empty units if it asks for none; nothing if there is no room.
  std::optional<Units> Choose(const UnitAsk& ask) const { return Choose(ask, &Unit::free); }
  bool Fits(const UnitAsk& ask) const { return ask.Empty() || Choose(ask).has_value(); }
  // Would it fit if all units were free?
  bool CouldFit(const UnitAsk& ask) const { return ask.Empty() || Choose(ask, &Unit::capacity).has_value(); }

  void Take(const Units& units) { Move(units, -1); }
  void Give(const Units& units) { Move(units, +1); }

  // Takes these units of the node's own stock and makes them the bundle's stock.
  void OpenBundle(const StockName& bundle, const Units& units);
  // REQUIRES: all of the bundle's units are free.
  void CloseBundle(const StockName& bundle);

  // Free in the node's own stock, in all.
  ResourceSet::Amount Free(const std::string& resource) const;
  // Empty, or what is wrong.
  std::string CheckInvariants() const;
  // The same, if nobody has a unit.
  std::string CheckAllFree() const;

 private:
  struct Unit {
    std::uint32_t number = 0;
    ResourceSet::Amount capacity = 0, free = 0;  // a bundle may have a part of a unit
  };
  using Stock = std::map<std::string, std::vector<Unit>>;  // by resource
  using Room = ResourceSet::Amount Unit::*;

  std::optional<Units> Choose(const UnitAsk& ask, Room room) const;
  static bool ChooseFrom(const Stock& stock, const UnitAsk& ask, Room room, Units* units);
  static bool ChooseShares(const std::vector<Unit>& units, ResourceSet::Amount amount, Room room,
                           std::vector<UnitShare>* shares);
  void Move(const Units& units, int sign);

  std::map<StockName, Stock> stocks_;
};

}  // namespace ray_engine
