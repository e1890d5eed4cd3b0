// What a session knows of relations, by their OIDs: of its present transaction, and their names for longer.
//
// A hash table that stays as it is from transaction to transaction: to begin a
// new one costs nothing, and a relation that was used before is found with its
// name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace unblock::core {

// Fact: what is known for one transaction. Its initial value stands for nothing.
template <class Fact>
class KnownRelations {
public:
	struct Relation {
		std::uint32_t oid = 0;
		std::uint32_t transaction = 0; // that `fact` belongs to; 0: the place is free
		Fact fact;
		bool is_named = false;
		std::uint32_t schema = 0; // bytes of names
		std::string names;        // schema and name, one behind the other

		std::string_view schema_name() const noexcept { return std::string_view(names).substr(0, schema); }
		std::string_view name() const noexcept { return std::string_view(names).substr(schema); }
	};

	// Throws std::bad_alloc, as get().
	KnownRelations() : places_(kFewest) {}

	// nullptr: nothing is known of it in this transaction. O(1).
	const Relation* find(std::uint32_t oid) const noexcept {
		const Relation& place = places_[place_of(oid)];
		return place.transaction == transaction_ && place.oid == oid ? &place : nullptr;
	}
	Relation* find(std::uint32_t oid) noexcept {
		return const_cast<Relation*>(std::as_const(*this).find(oid));
	}

	// Whether its name is known, in this transaction or from an earlier one. O(1).
	bool has_name(std::uint32_t oid) const noexcept {
		const Relation& place = places_[place_of(oid)];
		return place.transaction != 0 && place.is_named;
	}

	// With an initial fact, if nothing is known of it. References are good until the next get(). O(1).
	Relation& get(std::uint32_t oid) {
		Relation* place = &places_[place_of(oid)];
		if (place->transaction == transaction_)
			return *place;
		if (place->transaction == 0) {
			if ((used_ + 1) * 2 > places_.size()) {
				grow();
				place = &places_[place_of(oid)];
			}
			++used_;
			place->oid = oid;
		}
		place->transaction = transaction_;
		place->fact = Fact();
		return *place;
	}

	// Throws std::bad_alloc.
	static void set_names(Relation& relation, std::string_view schema, std::string_view name) {
		relation.names.reserve(schema.size() + name.size());
		relation.names.assign(schema).append(name);
		relation.schema = static_cast<std::uint32_t>(schema.size());
		relation.is_named = true;
	}

	// The name of one relation may have changed, or those of all. O(1), O(all).
	void forget_names(std::uint32_t oid) noexcept { places_[place_of(oid)].is_named = false; }
	void forget_all_names() noexcept {
		for (Relation& place : places_)
			place.is_named = false;
	}

	// Nothing is known any more but names, and these too if they have become many. O(1), or O(all) then.
	void begin_transaction() noexcept {
		++transaction_;
		if (transaction_ == 0 || used_ > kMostKept) {
			for (Relation& place : places_)
				place = {};
			if (places_.size() > kMostKept) {
				places_.resize(kMostKept);
				places_.shrink_to_fit();
			}
			used_ = 0;
			transaction_ = 1;
		}
	}

private:
	static constexpr std::size_t kFewest = 64;
	static constexpr std::size_t kMostKept = 1024;

	// Where it is, or would be. There is always a free place.
	std::size_t place_of(std::uint32_t oid) const noexcept {
		constexpr std::uint32_t golden = 2654435769U;
		constexpr unsigned half = 16;
		const std::size_t mask = places_.size() - 1;
		std::size_t place = ((oid * golden) >> half) & mask;
		while (places_[place].transaction != 0 && places_[place].oid != oid)
			place = (place + 1) & mask;
		return place;
	}

	void grow() {
		std::vector<Relation> places(places_.size() * 2);
		places_.swap(places);
		for (Relation& relation : places)
			if (relation.transaction != 0)
				places_[place_of(relation.oid)] = std::move(relation);
	}

	std::vector<Relation> places_; // as many as a power of two
	std::size_t used_ = 0;
	std::uint32_t transaction_ = 1;
};

} // namespace unblock::core
