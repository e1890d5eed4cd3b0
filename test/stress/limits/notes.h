// What the clients write down about themselves, and what follows from it for
// how long a transaction can have idled and blocked at the most.
//
// Every interval is given by outer bounds: it begins with the server's clock in
// the last statement before it, and ends with the server's clock in the first
// statement after it, or when the client saw that it was over. Whatever the
// enforcer may have counted lies within.
#pragma once

#include "roles.h"

#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace unblock::stress {

struct Interval {
	Micros begin = 0;
	Micros end = kNever;

	Micros length() const { return end - begin; }
};

// A time that a transaction waits for its client.
struct Spell : Interval {
	bool by_server = false; // the end is the server's clock in the next statement
	bool answered = false;  // that statement was
};

// A lock that a transaction has taken, of those that others want.
struct Holding {
	int object;
	bool exclusive;
	Micros since;
};

// A statement that may have waited for such a lock.
struct Wait : Interval {
	bool exclusive = false;
	Micros sent = 0;
};

// One connection.
struct Life {
	const Role* role;
	int pid;
	Micros ended = 0; // when the client saw that it was lost; 0: it was not
	std::string why = {};
};

struct Transaction {
	const Life* life;
	std::string xact_start; // as the log writes it
	std::vector<Spell> spells;
	std::vector<Holding> holdings;
};

class Notes {
public:
	explicit Notes(int objects) : waits_(objects) {}

	// References to what was added stay valid.
	Life& add(const Life& life) { return lives_.emplace_back(life); }
	Transaction& add(const Transaction& transaction) { return transactions_.emplace_back(transaction); }
	// Waits for one object must be added in the order in which they were sent.
	Wait& add_wait(int object, bool exclusive, Micros sent);

	const std::deque<Life>& lives() const { return lives_; }
	const std::deque<Transaction>& transactions() const { return transactions_; }

	// When the transaction idled while somebody waited for what it held: what it can have collected until
	// `until` at the most. In order, without overlap.
	std::vector<Interval> blocking_idle(const Transaction& transaction, Micros until) const;

private:
	std::deque<Life> lives_;
	std::deque<Transaction> transactions_;
	std::vector<std::deque<Wait>> waits_; // by object
};

Micros sum_of(const std::vector<Interval>& intervals);

// When the sum had come to so much, if it ever had.
std::optional<Micros> moment_of(const std::vector<Interval>& intervals, Micros sum);

} // namespace unblock::stress
