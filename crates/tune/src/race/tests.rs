//! Races on made-up times.

use std::time::Duration;

use voxtune_types::{Arch, CpuIsa};

use super::charged::without_share;
use super::*;
use crate::race::statistics::{median, median_interval};

/// Candidates that take made-up times on a made-up clock.
struct Fake<F: FnMut(usize, usize) -> Result<u64, &'static str>> {
    times: F,
    runs: Vec<usize>,
    clock: Duration,
}

impl<F: FnMut(usize, usize) -> Result<u64, &'static str>> Sampler for Fake<F> {
    type Failure = &'static str;

    fn sample(&mut self, candidate: usize) -> Result<u64, &'static str> {
        let run = self.runs[candidate];
        self.runs[candidate] += 1;
        let ns = (self.times)(candidate, run)?;
        self.clock += Duration::from_nanos(ns);
        Ok(ns)
    }

    fn elapsed(&self) -> Duration {
        self.clock
    }
}

const MS: u64 = 1_000_000;

fn run(
    candidates: usize,
    budget_ms: u64,
    times: impl FnMut(usize, usize) -> Result<u64, &'static str>,
) -> Vec<CandidateSamples<&'static str>> {
    let policy = Policy::with_budget(Duration::from_millis(budget_ms));
    run_under(&policy, candidates, None, times)
}

fn run_under(
    policy: &Policy,
    candidates: usize,
    default: Option<usize>,
    times: impl FnMut(usize, usize) -> Result<u64, &'static str>,
) -> Vec<CandidateSamples<&'static str>> {
    let ranks: Vec<usize> = (1..=candidates).collect();
    race_on(TieOrder { ranks: &ranks, default }, policy, times)
}

fn race_on(
    order: TieOrder<'_>,
    policy: &Policy,
    times: impl FnMut(usize, usize) -> Result<u64, &'static str>,
) -> Vec<CandidateSamples<&'static str>> {
    let mut sampler = Fake { times, runs: vec![0; order.ranks.len()], clock: Duration::ZERO };
    race(order, policy, &mut sampler)
}

/// A time with noise of one percent either way, of its own for each candidate and run.
fn noisy(ns: u64, candidate: usize, run: usize) -> u64 {
    // As splitmix64 makes numbers out of a count.
    let count = (2 * run + candidate + 1) as u64;
    let mixed = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ns * (99_000 + 20 * ((mixed >> 32) % 101)) / 100_000
}

fn counts(candidates: &[CandidateSamples<&'static str>]) -> Vec<usize> {
    candidates.iter().map(|candidate| candidate.samples().count()).collect()
}

#[test]
fn dominated_candidates_get_one_sample() {
    let candidates = run(3, 60_000, |candidate, _| Ok([100, 201, 199][candidate] * MS));
    assert_eq!(counts(&candidates), [11, 1, 3]);
}

#[test]
fn nobody_leaves_a_race_without_end() {
    let times = |candidate: usize, _| Ok([100, 1000, 105][candidate] * MS);
    for policy in [Policy::with_budget(Duration::MAX), Policy::on_gpu(Duration::MAX)] {
        let candidates = run_under(&policy, 3, None, times);
        assert_eq!(counts(&candidates), [11, 11, 11]);
    }
}

#[test]
fn a_benchmark_samples_who_is_not_dominated_alike() {
    let times = |candidate: usize, run: usize| {
        Ok([100, 190, 201, 300][candidate] * MS + u64::from(run == 2) * 60 * MS)
    };
    for arch in [Arch::sm(9, 0), Arch::Cpu(CpuIsa::Portable)] {
        let candidates = run_under(&Policy::exhaustive(arch, 7), 4, Some(3), times);
        assert_eq!(counts(&candidates), [7, 7, 1, 7], "{arch}: the default is never dominated");
    }
}

#[test]
fn near_ties_are_measured_to_the_end() {
    let candidates =
        run(
            2,
            60_000,
            |candidate, run| Ok(100 * MS + (candidate as u64 + run as u64 % 3) * MS / 2),
        );
    assert_eq!(counts(&candidates), [11, 11]);
}

#[test]
fn the_leader_gets_three_samples_whatever_the_budget() {
    let candidates = run(3, 0, |candidate, _| Ok([150, 100, 120][candidate] * MS));
    assert_eq!(counts(&candidates), [1, 3, 1]);
}

/// Its first sample was late, and no budget is left: by that one alone every candidate would have
/// beaten it.
#[test]
fn f09_the_leader_and_the_default_share_three_rounds_whatever_the_budget() {
    for policy in [Policy::with_budget(Duration::ZERO), Policy::on_gpu(Duration::ZERO)] {
        let candidates = run_under(&policy, 3, Some(0), |candidate, run| {
            Ok(if candidate == 0 && run < 2 { 190 } else { [90, 100, 120][candidate] } * MS)
        });
        assert!(candidates[0].samples().count() >= 3, "{candidates:?}");
        assert!(candidates[1].ratios_to(&candidates[0]).len() >= 3, "{candidates:?}");
    }
    // A candidate that takes the lead later shares as many rounds with the default.
    let policy = Policy::with_budget(Duration::ZERO);
    let candidates = run_under(&policy, 3, Some(2), |candidate, run| {
        Ok(if candidate == 0 && run > 0 { 130 } else { [100, 110, 150][candidate] } * MS)
    });
    assert!(candidates[1].ratios_to(&candidates[2]).len() >= 3, "{candidates:?}");
    // A default that fails needs no shared rounds.
    let candidates =
        run_under(
            &policy,
            2,
            Some(1),
            |candidate, _| {
                if candidate == 1 { Err("wrong") } else { Ok(100 * MS) }
            },
        );
    assert_eq!(counts(&candidates), [3, 0]);
}

#[test]
fn a_budget_is_kept_to_what_is_owed() {
    let candidates = run(2, 1_000, |candidate, _| Ok([100, 101][candidate] * MS));
    let total: u64 = candidates.iter().flat_map(CandidateSamples::samples).sum();
    assert!(total <= 1_000 * MS && total > 900 * MS, "{total}");
}

#[test]
fn short_runs_are_warmed_up() {
    let candidates = run(1, 60_000, |_, run| Ok(if run == 0 { 40 * MS } else { MS }));
    assert!(candidates[0].samples().all(|ns| ns == MS));
}

#[test]
fn a_first_run_of_a_gpu_is_forgiven_a_millisecond() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let mut runs = [0; 4];
    let candidates = run_under(&policy, 4, None, |candidate, run| {
        runs[candidate] += 1;
        let extra = if run == 0 { [0, 900, 900, 900][candidate] } else { 0 };
        Ok(([500, 950, 2_000, 525][candidate] + extra) * US)
    });
    // One run that does not count, three of those within twice the leader's time, and six of those
    // near.
    assert_eq!(runs, [7, 4, 1, 7]);
    assert_eq!(counts(&candidates), [6, 3, 1, 6]);
    assert!(candidates[1].samples().all(|ns| ns == 950 * US));
}

#[test]
fn a_slow_first_sample_of_a_short_run_is_forgiven() {
    let candidates = run(2, 60_000, |candidate, run| {
        Ok(if candidate == 1 && run == 0 { 49 * MS } else { [11, 10][candidate] * MS })
    });
    assert_eq!(counts(&candidates), [6, 11]);
}

#[test]
fn failures_leave_and_are_kept() {
    let candidates = run(2, 60_000, |candidate, run| {
        if candidate == 0 && run == 3 { Err("device lost") } else { Ok([99, 100][candidate] * MS) }
    });
    assert_eq!(candidates[0].failure, Some("device lost"));
    assert_eq!(candidates[1].samples().count(), 11);
}

#[test]
fn a_drifting_clock_does_not_change_the_ratio() {
    let mut calls = 0;
    let candidates = run(2, 60_000, |candidate, _| {
        calls += 1;
        Ok([100, 90][candidate] * MS * (100 + calls) / 100)
    });
    let ratios = candidates[1].ratios_to(&candidates[0]);
    let middle = median(&ratios).unwrap();
    assert!((0.87..0.93).contains(&middle), "{middle}");
}

/// Whatever the budget: without verified samples no candidate may win.
#[test]
fn undominated_candidates_get_verified_samples() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let candidates =
        run_under(&policy, 4, None, |candidate, _| Ok([150, 100, 199, 201][candidate] * 4 * US));
    let verified_samples: Vec<usize> =
        candidates.iter().map(|candidate| candidate.verified_samples).collect();
    assert_eq!((counts(&candidates), verified_samples), (vec![3, 6, 3, 1], vec![2, 2, 2, 0]));
}

/// By its first sample, which is off by a tenth at most, as is the leader's.
#[test]
fn a_long_run_beyond_the_noise_of_the_leader_leaves_at_once() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let candidates =
        run_under(&policy, 4, Some(3), |candidate, _| Ok([100, 122, 123, 150][candidate] * MS));
    assert_eq!(counts(&candidates), [5, 3, 1, 3]);
}

#[test]
fn the_default_is_never_dominated() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let candidates = run_under(&policy, 2, Some(0), |candidate, _| Ok([900, 100][candidate] * MS));
    assert_eq!((counts(&candidates), candidates[0].verified_samples), (vec![3, 5], 2));
    assert_eq!(candidates[1].ratios_to(&candidates[0]).len(), 3);
}

#[test]
fn a_failed_verification_does_not_count() {
    let policy = Policy::on_gpu(Duration::from_secs(60));
    let candidates = run_under(&policy, 2, None, |candidate, run| {
        if candidate == 0 && run == 2 { Err("wrong") } else { Ok([100, 101][candidate] * MS) }
    });
    assert_eq!((candidates[0].failure, candidates[0].verified_samples), (Some("wrong"), 1));
    assert_eq!((candidates[1].failure, candidates[1].verified_samples), (None, 2));
}

#[test]
fn a_wrong_leader_leaves_nobody_dominated() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let candidates = run_under(&policy, 3, Some(2), |candidate, run| {
        if candidate == 0 && run == 1 { Err("wrong") } else { Ok([10, 100, 150][candidate] * MS) }
    });
    let verified_samples: Vec<usize> =
        candidates.iter().map(|candidate| candidate.verified_samples).collect();
    assert_eq!((counts(&candidates), verified_samples), (vec![1, 6, 4], vec![0, 2, 2]));
}

#[test]
fn long_runs_of_a_gpu_need_few_samples() {
    let policy = Policy::on_gpu(Duration::from_secs(60));
    let candidates = run_under(&policy, 2, None, |candidate, _| Ok([100, 101][candidate] * MS));
    assert_eq!(counts(&candidates), [5, 5]);
    let candidates =
        run_under(&policy, 2, None, |candidate, _| Ok([100, 101][candidate] * MS / 1000));
    assert_eq!(counts(&candidates), [11, 11]);
}

#[test]
fn no_candidates_are_no_race() {
    assert!(run(0, 1_000, |_, _| Ok(MS)).is_empty());
}

const US: u64 = 1_000;

#[test]
fn a_late_sample_is_taken_again() {
    let policy = Policy::on_gpu(Duration::ZERO);
    // The warm-up is the first run; the third run of the one and the fourth of the other are
    // outliers.
    let candidates = run_under(&policy, 2, None, |candidate, run| {
        let ns = [200, 190][candidate] * US;
        Ok(if run == 2 + candidate { 2 * ns } else { ns })
    });
    assert_eq!(counts(&candidates), [6, 6]);
    assert!(candidates[0].samples().all(|ns| ns == 200 * US), "{candidates:?}");
    assert!(candidates[1].samples().all(|ns| ns == 190 * US), "{candidates:?}");
}

#[test]
fn a_candidate_that_was_faster_when_it_warmed_up_is_not_dominated() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let candidates = run_under(&policy, 2, None, |candidate, run| {
        Ok(if candidate == 1 && run == 1 { 900 * US } else { [20, 21][candidate] * US })
    });
    assert_eq!(counts(&candidates), [6, 6]);
    assert!(candidates[1].samples().all(|ns| ns == 21 * US), "{candidates:?}");
}

#[test]
fn resampling_comes_to_an_end() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let mut runs = 0;
    let candidates = run_under(&policy, 1, None, |_, run| {
        runs += 1;
        Ok(if run == 1 { 100 * US } else { 180 * US })
    });
    assert_eq!((counts(&candidates), runs), (vec![6], 1 + 6 + policy.resamples));
}

/// Two late samples of three, each less than what is taken again, do not cost a win.
#[test]
fn a_candidate_near_at_its_best_gets_more_samples() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let candidates = run_under(&policy, 2, None, |candidate, run| {
        let late = candidate == 1 && (run == 2 || run == 3);
        Ok(if late { 25 * US } else { [26, 22][candidate] * US })
    });
    assert_eq!(counts(&candidates)[1], 6);
    assert_eq!(candidates[1].centre().unwrap().median_ns, 22_000.0);
}

/// One that is preferred, this far behind the leader, with noise of 1 % either way: how often it
/// ran.
fn preferred_behind_by(per_mille: u64) -> usize {
    let policy = Policy::on_gpu(Duration::ZERO);
    let order = TieOrder { ranks: &[2, 1], default: None };
    let candidates = race_on(order, &policy, |candidate, run| {
        Ok(noisy(250 * US * [1_000, 1_000 + per_mille][candidate] / 1_000, candidate, run))
    });
    let [leader, preferred] = counts(&candidates)[..] else { panic!() };
    assert_eq!(leader, preferred, "in the same rounds");
    preferred
}

#[test]
fn a_tie_break_goes_on_until_the_preferred_is_clear_of_the_edge() {
    // The band ends at 1 %: deep within it and far beyond it little is open.
    let counts = [0, 4, 10, 16, 60].map(preferred_behind_by);
    assert!(counts[0] < counts[1] && counts[4] == 6, "{counts:?}");
    assert_eq!(counts[2], 201, "{counts:?}");
    assert!([counts[1], counts[3]].iter().all(|count| (7..201).contains(count)), "{counts:?}");
}

#[test]
fn a_candidate_that_would_not_win_a_tie_needs_no_tie_break() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let times =
        |candidate: usize, run| Ok(noisy([1_000, 1_010][candidate] * US / 4, candidate, run));
    let run = |ranks: [usize; 2], default| {
        counts(&race_on(TieOrder { ranks: &ranks, default }, &policy, times))
    };
    assert_eq!(run([1, 2], None), [6, 6]);
    assert_eq!(run([2, 1], None), [201, 201]);
    assert_eq!(run([2, 1], Some(1)), [201, 201]);
    // Where a third is preferred to both and clearly within the band, neither can win.
    let candidates =
        race_on(TieOrder { ranks: &[3, 2, 1], default: None }, &policy, |candidate, _| {
            Ok([400, 404, 400][candidate] * US)
        });
    assert_eq!(counts(&candidates), [6, 6, 6]);
}

/// Six percent behind, and one late sample of the winner's: decisions would keep the default.
#[test]
fn a_default_is_not_kept_by_one_late_sample() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let times = |late: usize| {
        let order = TieOrder { ranks: &[1, 2], default: Some(0) };
        race_on(order, &policy, |candidate, run| {
            let ns = [424, 400][candidate] * US;
            Ok(if candidate == 1 && run == late { ns * 11 / 10 } else { ns })
        })
    };
    assert_eq!(counts(&times(usize::MAX))[1], 6);
    let candidates = times(3);
    assert!((9..20).contains(&candidates[0].samples().count()), "{candidates:?}");
    let ratio = median_interval(&candidates[1].ratios_to(&candidates[0])).unwrap();
    assert!(ratio.high < 1.0, "{ratio:?}");
}

#[test]
fn a_tie_break_of_long_runs_is_short() {
    let times = |candidate: usize, run| Ok(noisy([100, 101][candidate] * MS, candidate, run));
    let policy = Policy::on_gpu(Duration::ZERO);
    let order = TieOrder { ranks: &[2, 1], default: None };
    assert_eq!(counts(&race_on(order, &policy, times)), [15, 15]);
    let none = Policy { tie_break: Duration::ZERO, ..policy };
    assert_eq!(counts(&race_on(order, &none, times)), [5, 5]);
}

#[test]
fn a_candidate_that_fails_in_a_tie_break_is_out() {
    let policy = Policy::on_gpu(Duration::ZERO);
    let order = TieOrder { ranks: &[2, 1], default: None };
    let candidates = race_on(order, &policy, |candidate, run| {
        if candidate == 1 && run == 20 {
            Err("device lost")
        } else {
            Ok(noisy([400, 404][candidate] * US, candidate, run))
        }
    });
    assert_eq!(candidates[1].failure, Some("device lost"));
    assert!(candidates[0].samples().count() < 25);
}

/// Whether the first of two candidates holds its place where each takes these times, run after run.
fn holds(times: impl FnMut(usize, usize) -> Result<u64, &'static str>) -> (bool, Vec<usize>) {
    let mut candidates = vec![CandidateSamples::new(), CandidateSamples::new()];
    let mut sampler = Fake { times, runs: vec![0; 2], clock: Duration::ZERO };
    let holds = confirm_incumbent(&mut candidates, [0, 1], 0.03, &mut sampler);
    (holds, sampler.runs)
}

#[test]
fn two_rounds_that_are_not_lost_confirm_the_incumbent() {
    // Five percent slower, but for two rounds in which it is as good as the challenger.
    let unlucky =
        |candidate, run| Ok(if candidate == 0 && run != 2 && run != 5 { 105 } else { 100 } * MS);
    assert_eq!(holds(unlucky), (true, vec![6, 6]));
    let within_margin = |candidate, _| Ok([102, 100][candidate] * MS);
    assert_eq!(holds(within_margin), (true, vec![2, 2]));
}

#[test]
fn an_incumbent_slower_round_after_round_gives_way() {
    assert_eq!(holds(|candidate, _| Ok([104, 100][candidate] * MS)), (false, vec![11, 11]));
    let outlier = |candidate, run| {
        Ok(if candidate == 1 && run == 7 { 500 } else { [104, 100][candidate] } * MS)
    };
    assert_eq!(holds(outlier), (false, vec![12, 12]));
}

#[test]
fn a_candidate_that_fails_in_confirmation_rounds_gives_way() {
    let fails = |who: usize| {
        move |candidate, run| {
            if candidate == who && run == 1 { Err("lost") } else { Ok([200, 100][candidate]) }
        }
    };
    assert_eq!(holds(fails(0)), (false, vec![2, 2]));
    // The second round begins with the challenger.
    assert_eq!(holds(fails(1)), (true, vec![1, 2]));
}

/// It wins unless it is beaten, so that nothing is left to prove.
#[test]
fn a_default_that_leads_past_the_budget_runs_twice() {
    let runs = |times_ms: [u64; 2]| {
        let policy = Policy::with_budget(Duration::from_millis(1));
        let order = TieOrder { ranks: &[1, 2], default: Some(0) };
        counts(&race_on(order, &policy, |candidate, _| Ok(times_ms[candidate] * MS)))
    };
    assert_eq!(runs([2_000, 2_100]), [2, 1]);
    assert_eq!(runs([2_300, 2_000]), [3, 3]);
    // Of so few rounds a smaller lead would be noise.
    assert_eq!(runs([2_100, 2_000]), [2, 2]);
}

/// Three rounds of which one is lost have an interval that reaches past the default.
#[test]
fn who_has_lost_a_round_to_the_default_runs_no_third() {
    let policy = Policy { least_lead: 0.0, ..Policy::with_budget(Duration::from_millis(1)) };
    let order = TieOrder { ranks: &[1, 2], default: Some(0) };
    let runs = |rounds_ms: [[u64; 3]; 2]| {
        counts(&race_on(order, &policy, |candidate, run| Ok(rounds_ms[candidate][run] * MS)))
    };
    assert_eq!(runs([[2_000, 2_000, 2_000], [1_950, 1_990, 1_990]]), [3, 3]);
    assert_eq!(runs([[2_000, 2_000, 2_000], [1_950, 2_010, 1_990]]), [2, 2]);
    // One late sample of two.
    assert_eq!(runs([[2_000, 2_000, 2_000], [1_700, 2_010, 1_700]]), [3, 3]);
}

#[test]
fn names_rank_by_their_order() {
    assert_eq!(ranks(&["c", "a", "b"]), [3, 1, 2]);
    // What ships before the default, and the default before the rest.
    assert_eq!(ranks(&[(true, true, "a"), (true, false, "c"), (false, true, "b")]), [3, 2, 1]);
    assert!(ranks::<&str>(&[]).is_empty());
}

/// A race of two on a GPU, by what each takes and is charged, and who leads it.
fn leads(times_us: [u64; 2], shares_us: [u64; 2]) -> usize {
    let times = |candidate: usize, run| Ok(noisy(1_000 * times_us[candidate], candidate, run));
    let mut sampler = Fake { times, runs: vec![0; 2], clock: Duration::ZERO };
    let shares_ns = shares_us.map(|us| 1_000 * us);
    let mut charged = Charged { sampler: &mut sampler, shares_ns: &shares_ns };
    let order = TieOrder { ranks: &[1, 2], default: Some(0) };
    let candidates = race(order, &Policy::on_gpu(Duration::from_millis(100)), &mut charged);
    let medians = candidates.iter().map(|one| median(&one.values()).unwrap());
    let own = |candidate: usize| {
        let own = without_share(&candidates[candidate].rounds, shares_ns[candidate]);
        median(&own.iter().flatten().map(|&ns| ns as f64).collect::<Vec<_>>()).unwrap()
    };
    for candidate in [0, 1] {
        let expected = 1_000.0 * times_us[candidate] as f64;
        assert!((own(candidate) / expected - 1.0).abs() < 0.011, "{candidate}");
    }
    usize::from(medians.is_sorted_by(|first, second| first > second))
}

#[test]
fn who_wins_by_less_than_its_charge_loses_the_race() {
    assert_eq!(leads([1_000, 900], [0, 0]), 1);
    assert_eq!(leads([1_000, 900], [0, 150]), 0);
    assert_eq!(leads([1_000, 900], [200, 250]), 1);
    // Charged so much, it leaves at once.
    assert_eq!(leads([1_000, 900], [0, 1_500]), 0);
}

#[test]
fn a_charge_counts_in_confirmation_rounds() {
    let times = |candidate: usize, run| Ok(noisy([100, 90][candidate] * MS, candidate, run));
    for (share_ms, holds) in [(0, false), (30, true)] {
        let mut sampler = Fake { times, runs: vec![0; 2], clock: Duration::ZERO };
        let mut charged = Charged { sampler: &mut sampler, shares_ns: &[0, share_ms * MS] };
        let mut candidates = [CandidateSamples::new(), CandidateSamples::new()];
        assert_eq!(confirm_incumbent(&mut candidates, [0, 1], 0.03, &mut charged), holds);
    }
}
