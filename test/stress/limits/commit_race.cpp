// Racers, and the aim at the enforcer's next look.

#include "commit_race.h"
#include "client.h"
#include "correction.h"
#include "judge.h"
#include "setup.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>

namespace unblock::stress {

namespace {

constexpr int kSessions = 100;
constexpr Micros kSpread = 2 * kMillisecond; // of COMMITs around the end that they race with

enum class Outcome {
	acknowledged, // COMMIT was answered
	ended,        // before COMMIT was sent
	ambiguous,    // COMMIT was sent and not answered
};

struct Race {
	Outcome outcome = Outcome::ended;
	Micros commit_sent = 0;
	const Transaction* transaction = nullptr;
};

// Foretells the enforcer's looks: at the next deadline, but not before its shortest sleep is over. (It has
// those in its plan too that have committed meanwhile.) What is wrong with that by and large is learned.
class Aim {
public:
	void plan(Micros deadline) { deadlines_.insert(deadline); }

	void ended(Micros seen) {
		constexpr Micros one_look = 8 * kMillisecond; // ends within it
		if (seen - look_ < one_look)
			return;
		look_ = seen;
		deadlines_.erase(deadlines_.begin(), deadlines_.lower_bound(look_ - kSecond));
	}

	void learn(bool lost) { correction_.learn(lost); }

	// end_of() will not be before that.
	Micros earliest_end_of(Micros deadline) const {
		return deadline + std::min<Micros>(correction_.value(), 0);
	}

	// When a session with this deadline is to be ended.
	Micros end_of(Micros deadline) const {
		Micros look = look_;
		for (auto next = deadlines_.upper_bound(look); next != deadlines_.end() && look < deadline; ++next)
			if (*next > look)
				look = std::max(look + kSleep, *next);
		return std::max(look, deadline) + correction_.value();
	}

	Micros correction() const { return correction_.value(); }

private:
	static constexpr Micros kSleep = 20 * kMillisecond; // Policy::kShortestSleep

	std::multiset<Micros> deadlines_;
	Micros look_ = 0; // in which somebody was ended
	// On a machine that is very busy COMMITs are late by a multiple of the sleep.
	Correction correction_{100, -4 * kSleep, kSleep};
};

struct Contest {
	Notes notes{0};
	Aim aim;
	std::vector<Race> races; // by id
	std::size_t begun = 0;

	bool is_over() const { return begun == races.size(); }
};

class Racer : public Client {
public:
	Racer(Contest& contest, std::uint64_t seed) : contest_(contest), dice_(seed) { open(kRacer.name); }

	bool is_at_rest() const { return step_ == Step::none && !is_busy() && contest_.is_over(); }

private:
	enum class Step { none, insert, idle, commit };

	void opened() override {
		life_ = &contest_.notes.add(Life{.role = &kRacer, .pid = pid()});
		begin();
	}

	void begin() {
		step_ = Step::none;
		if (contest_.is_over())
			return;
		id_ = contest_.begun++;
		step_ = Step::insert;
		send("BEGIN; INSERT INTO race VALUES (" + std::to_string(id_) + "); SELECT " + kServerClock +
		     " AS clock, now()::text AS xact_start");
	}

	void answered(const Answer& answer) override {
		if (!answer.error.empty())
			throw std::runtime_error(std::string(kRacer.name) + ": " + answer.error);
		if (step_ == Step::commit) {
			finish(answer, now());
			begin();
			return;
		}
		transaction_ = &contest_.notes.add(Transaction{life_, answer.text("xact_start"), {}, {}});
		contest_.races[id_].transaction = transaction_;
		transaction_->spells.push_back({});
		transaction_->spells.back().begin = answer.moment("clock");
		step_ = Step::idle;
		contest_.aim.plan(deadline());
		offset_ = dice_.between(-kSpread, kSpread);
		wait_until(contest_.aim.earliest_end_of(deadline()) - kSpread);
	}

	Micros deadline() const { return transaction_->spells.back().begin + kRacer.idle_in_transaction; }

	// As soon as it can be time for COMMIT, and then at the moment that has turned out by then.
	void timed() override {
		const Micros moment = contest_.aim.end_of(deadline()) + offset_;
		if (now() < moment) {
			wait_until(moment);
			return;
		}
		step_ = Step::commit;
		send("COMMIT");
		contest_.races[id_].commit_sent = sent_at();
		contest_.races[id_].outcome = Outcome::ambiguous;
	}

	void finish(const Answer& answer, Micros seen) {
		if (transaction_ != nullptr)
			transaction_->spells.back().end = seen;
		Race& race = contest_.races[id_];
		if (answer.has_tag("COMMIT"))
			race.outcome = Outcome::acknowledged;
		if (step_ == Step::idle || step_ == Step::commit)
			contest_.aim.learn(race.outcome != Outcome::acknowledged);
		transaction_ = nullptr;
	}

	void lost(const Answer& answer, Micros seen, const std::string& why) override {
		if (life_ == nullptr)
			throw std::runtime_error("a session was lost at its start: " + why);
		life_->ended = seen;
		life_->why = why;
		life_ = nullptr;
		contest_.aim.ended(seen);
		finish(answer, seen);
		step_ = Step::none;
		if (!contest_.is_over())
			open(kRacer.name);
	}

	Contest& contest_;
	Dice dice_;
	Life* life_ = nullptr;
	Step step_ = Step::none;
	std::size_t id_ = 0;
	Transaction* transaction_ = nullptr;
	Micros offset_ = 0; // of this race
};

void run_races(Contest& contest, std::uint64_t seed) {
	std::vector<std::unique_ptr<Racer>> racers;
	std::vector<Client*> clients;
	for (int i = 0; i < kSessions; ++i) {
		racers.push_back(std::make_unique<Racer>(contest, seed + i));
		clients.push_back(racers.back().get());
	}
	attend(clients, [&] {
		return std::ranges::all_of(racers, [](const auto& racer) { return racer->is_at_rest(); });
	});
}

void check_rows(const Contest& contest, Report& report) {
	std::set<std::size_t> present;
	for (const std::string& id : ask("SELECT id FROM race"))
		present.insert(std::stoull(id));
	std::vector<std::string> missing, uncalled_for;
	std::size_t count[3] = {}, ambiguous_present = 0;
	for (std::size_t id = 0; id < contest.races.size(); ++id) {
		const Outcome outcome = contest.races[id].outcome;
		++count[static_cast<int>(outcome)];
		if (outcome == Outcome::acknowledged && !present.contains(id))
			missing.push_back("row " + std::to_string(id) + " is not there");
		if (outcome == Outcome::ended && present.contains(id))
			uncalled_for.push_back("row " + std::to_string(id) + " is there");
		ambiguous_present += outcome == Outcome::ambiguous && present.contains(id);
	}
	const auto [acknowledged, ended, ambiguous] = count;
	report.check(std::to_string(acknowledged) + " acknowledged COMMITs: all rows are there", missing);
	report.check(std::to_string(ended) + " ended before COMMIT was sent: no row is there", uncalled_for);
	report.figure("ambiguous: " + std::to_string(ambiguous) + " COMMITs were sent and not answered; " +
	              std::to_string(ambiguous_present) + " rows are there");
	const std::size_t least = contest.races.size() / 10;
	report.check_enough("races that COMMIT won", acknowledged, least);
	report.check_enough("races that the enforcer won", ended + ambiguous, least);
}

// The line in the log is written right after the signal is sent.
void show_closeness(const Contest& contest, const std::vector<End>& ends, Report& report) {
	std::map<const Transaction*, Micros> written;
	for (const End& end : ends)
		written[end.transaction] = end.written;
	std::vector<Micros> before, after;
	std::size_t crossed = 0;
	for (const Race& race : contest.races) {
		const auto end = written.find(race.transaction);
		if (end == written.end() || race.outcome == Outcome::ended)
			continue;
		const Micros distance = race.commit_sent - end->second;
		(distance < 0 ? before : after).push_back(std::abs(distance));
		crossed += race.outcome == Outcome::acknowledged;
	}
	report.distribution("COMMITs sent before the line in the log, by", before);
	report.distribution("COMMITs sent after the line in the log, by", after);
	report.figure("crossed with the signal, acknowledged, and ended right afterwards: " +
	              std::to_string(crossed));
	report.figure("learned correction of the aim: " + milliseconds(contest.aim.correction()));
}

} // namespace

void run_commit_race(int races, std::uint64_t seed, const std::string& log_path, Report& report) {
	create(kRacer);
	ask("CREATE TABLE race (id bigint PRIMARY KEY); GRANT ALL ON race TO public");
	const ServerLog log(log_path);
	Contest contest;
	contest.races.resize(static_cast<std::size_t>(races));
	const Micros start = now();
	run_races(contest, seed);
	report.figure(std::to_string(races) + " races in " + milliseconds(now() - start));
	check_rows(contest, report);
	show_closeness(contest, judge_ends(contest.notes, log, report), report);
}

} // namespace unblock::stress
