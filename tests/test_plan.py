"""The plan: published transfers, conditions solved independently, warnings where rules disagree, refusals."""

from __future__ import annotations

import json
import math

import pytest

from bstheory import cli
from bstheory.errors import InputError
from bstheory.plan import Plan, norm_test_max_batch, plan, table

REFERENCE = {"from_batch_size": 512, "seq_len": 1024, "beta2": 0.95}


def run(words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(words.split())
    return stopped.value.code


def test_the_documented_command(capsys):
    words = "plan --from-batch-size 512 --to-batch-size 1 --seq-len 1024 --beta2 0.95 --json"
    assert run(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert abs(found["beta2"] - 0.95 ** (1 / 512)) < 1e-12
    assert found["settings"]["beta2"]["half_life"] == found["beta2"]
    assert round(found["beta2_half_life"] / 1e6, 3) == 7.085


def test_tables(capsys):
    words = (
        "plan --from-batch-size 512 --to-schedule 0:8,1M:8192 --num-tokens 20000000 --seq-len 1024 "
        "--beta2 .95 --learning-rate 3e-4 --weight-decay 0.1 --layers 12 --width 768 --vocab-size 50257 "
        "--throughput 1:100,8:400,64:420 --noise-scale 500 --warmup-steps 100"
    )
    assert run(words) == 0
    out = " ".join(capsys.readouterr().out.split())
    for piece in ("batch size 8 ", "batch size 8192", "largest admissible", "adafactor", "TokenHalfLife"):
        assert piece in out
    assert "95 % of peak throughput: 8" in out


def test_bad_input_exits_with_two(capsys):
    assert run("plan --from-batch-size 512 --seq-len 1024 --beta2 0.95") == 2
    assert "exactly one target" in capsys.readouterr().err


def make(**changes) -> Plan:
    return plan(**{**REFERENCE, "to_batch_size": 1, **changes})


def test_values_of_the_rules():
    found = make(learning_rate=3e-4, weight_decay=0.1, warmup_steps=100, noise_scale=64.0)
    k = 1 / 512
    assert found.value("learning_rate", "sqrt") == pytest.approx(3e-4 * math.sqrt(k))
    assert found.value("learning_rate", "linear") == pytest.approx(3e-4 * k)
    bound = math.sqrt((1 - 0.95 ** (1 / 512)) / 0.05)
    assert found.value("learning_rate", "bound") == pytest.approx(3e-4 * bound, rel=1e-9)
    adascale = (64 / 512 + 1) / (64 / 1 + 1)
    assert found.value("learning_rate", "adascale") == pytest.approx(3e-4 * adascale)
    peak = lambda b: 2 / (math.sqrt(64 / b) + math.sqrt(b / 64))  # noqa: E731
    assert found.value("learning_rate", "surge") == pytest.approx(3e-4 * peak(1) / peak(512))
    for rule in ("fixed", "sqrt", "linear", "bound", "adascale", "surge"):
        rate, decay = (
            found.value("learning_rate", rule),
            found.value("weight_decay", f"timescale at lr {rule}"),
        )
        assert (1 - rate * decay) ** 512 == pytest.approx(1 - 3e-4 * 0.1, rel=1e-12)
    assert found.value("eps", "sde") == pytest.approx(1e-8 * math.sqrt(512))
    assert found.value("warmup_steps", "tokens") == 51200
    assert found.value("beta1", "half_life") == pytest.approx(0.9 ** (1 / 512), rel=1e-15)
    with pytest.raises(InputError, match="the plan has"):
        found.value("beta3", "fixed")


def test_sequence_length_counts():
    longer = make(to_seq_len=2048)
    assert longer.value("beta2", "half_life") == pytest.approx(0.95 ** (2 / 512), rel=1e-14)


def test_rules_of_the_noise_scale_count_tokens_too():
    """Twice as many sequences, or sequences twice as long: the same rates."""
    more = make(to_batch_size=2, learning_rate=3e-4, noise_scale=64.0)
    longer = make(to_seq_len=2048, learning_rate=3e-4, noise_scale=64.0)
    for rule in ("sqrt", "adascale", "surge"):
        assert longer.value("learning_rate", rule) == pytest.approx(
            more.value("learning_rate", rule), rel=1e-12
        )


def test_thresholds_of_the_warnings():
    def texts(**changes):
        return " ".join(make(**changes).warnings)

    inside = 0.95 ** (1622 / 512)  # between beta1^2 and beta1
    assert 0.81 < inside < 0.9
    assert "sqrt(beta2)" not in texts(to_batch_size=1622) and "sqrt(beta2)" in texts(to_batch_size=2200)
    for half_lives, warned in ((5, True), (8, False)):  # 1 - 2^-5 < 0.99 < 1 - 2^-8
        at = round(half_lives * 13.5134 * 512) * 1024
        found = plan(**REFERENCE, to_schedule=f"0:64 {at}:256", num_tokens=2 * at)
        assert any("TokenHalfLife" in w for w in found.warnings) is warned
    assert make(throughput={1: 95.0, 2: 100.0}).smallest_near_peak == 1  # exactly 95 %
    assert "needs the learning rate" in texts(weight_decay=0.1)
    assert "needs the learning rate" not in texts(weight_decay=0.1, learning_rate=1e-3)


def test_published_beta2_limits_of_the_norm_test():
    """Smallest beta2 of condition (C) at beta1 = 0.9, as tabulated: .9612, .9623, .9677, .9786."""
    for eta, smallest in ((0.05, 0.9612), (0.2, 0.9623), (0.5, 0.9677), (1.0, 0.9786)):
        limit = norm_test_max_batch(beta1=0.9, half_life=1.0, eta=eta)
        beta2 = 2.0**-limit
        assert beta2 == pytest.approx(smallest, abs=0.00005)
        s, gamma_sq = 1 + eta**2, 0.81 / beta2
        assert s * (1 - math.sqrt(beta2)) / (1 - gamma_sq) == pytest.approx(1 / 8, rel=1e-9)
        # (0.9, 0.95) violates (C) but is feasible
        assert limit < -math.log2(0.95) < norm_test_max_batch(beta1=0.9, half_life=1.0, eta=eta, share=1.0)


def test_admissible_batches_and_their_warnings():
    found = make(to_batch_size=4096, learning_rate=1e-3)
    momentum = found.beta2_half_life * math.log2(1 / 0.9) / 1024
    assert found.admissible["adam_token_half_life_momentum (beta1 < beta2)"] == pytest.approx(momentum)
    text = " ".join(found.warnings)
    assert "exceeds 1052" in text and "admits" in text and "sqrt(beta2)" in text and "disagree" in text
    quiet = make(to_batch_size=256, learning_rate=1e-3)
    assert not [w for w in quiet.warnings if "exceeds" in w or "sqrt(beta2)" in w]
    assert make(beta1=0.0, to_batch_size=4096).admissible == {}


def test_half_lives_beyond_float32():
    text = " ".join(plan(from_batch_size=1024, to_batch_size=1, seq_len=1, beta2=0.99999).warnings)
    assert "below the resolution of float32" in text


def test_a_schedule_has_one_target_per_batch_size():
    found = plan(**REFERENCE, to_schedule="0:64 1M:256 4M:64", num_tokens=8_000_000)
    assert [t.batch_size for t in found.targets] == [64, 256]
    second = found.targets[1]
    assert second.first_token == 16 * 64 * 1024 and second.tokens_per_step == 256 * 1024
    assert found.value("beta2", "half_life", batch_size=64) == pytest.approx(0.95 ** (1 / 8), rel=1e-14)
    assert any("TokenHalfLife" in w for w in found.warnings)
    json.dumps(found.to_dict(), allow_nan=False)


def test_throughput_and_memory():
    found = make(throughput={1: 100.0, 8: 400.0, 64: 420.0}, layers=12, width=768, vocab_size=50257)
    assert found.smallest_near_peak == 8  # 400 >= 0.95 * 420 = 399
    assert any("below 8" in w for w in found.warnings)
    totals = {(m["optimizer"], m["accumulation"]): m["total"] for m in found.memory}
    assert totals["adam", True] > totals["adam", False] > totals["muon", False] > totals["sgd", False]
    assert table("1:21000, 4:6e4") == {1: 21000.0, 4: 60000.0}


BAD = [
    ({"to_schedule": "64", "num_tokens": 5}, "exactly one target"),
    ({"num_tokens": 5}, "a schedule needs the length"),
    ({"to_batch_size": 0}, "to_batch_size=0"),
    ({"to_batch_size": None, "to_schedule": "0:64 x", "num_tokens": 5}, "piece 2 'x'"),
    ({"beta2": 1.0}, "beta2=1.0"),
    ({"learning_rate": 2.0, "weight_decay": 0.5}, "the decay per step"),
    ({"to_batch_size": 10**400}, "below 2^53"),
    ({"throughput": {1: math.inf}}, "throughput="),
    ({"beta2": math.nan}, "beta2=nan"),
    ({"beta1": -0.1}, "beta1=-0.1"),
    ({"learning_rate": 0.0}, "learning_rate=0.0"),
    ({"layers": 12}, "memory needs all three"),
    ({"throughput": {}}, "throughput={}"),
    ({"noise_scale": -1.0}, "noise_scale=-1.0"),
    ({"eta": 0}, "eta=0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_arguments(changes, message):
    with pytest.raises(InputError) as caught:
        make(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["1", "1:x", "a:3"])
def test_bad_throughput_tables(text):
    with pytest.raises(InputError, match="piece"):
        table(text)


def test_a_ramp_is_rounded_only_where_that_is_asked_for() -> None:
    ramp = {"to_schedule": "linear 64->256 over 1M", "num_tokens": 2_000_000}
    with pytest.raises(InputError, match="round-to"):
        plan(**REFERENCE, **ramp)
    found = plan(**REFERENCE, **ramp, round_to=64)
    assert [t.batch_size for t in found.targets] == [64, 128, 192, 256]
    for bad, message in (({"round_to": 0}, "positive integer"), ({"round_to": 2.5}, "positive integer")):
        with pytest.raises(InputError, match=message):
            plan(**REFERENCE, **ramp, **bad)
    with pytest.raises(InputError, match="only the batch sizes of a schedule"):
        plan(**REFERENCE, to_batch_size=8, round_to=8)


def test_lengths_are_counts(capsys) -> None:
    words = (
        "plan --from-batch-size 512 --to-schedule 0:8,1M:64 --num-tokens {} --seq-len 128 --beta2 .95 --json"
    )
    assert run(words.format("2.5M")) == 0
    short = capsys.readouterr().out
    assert run(words.format("2500000")) == 0 and capsys.readouterr().out == short
    assert run(words.format("many")) == 2 and "500k or 2.5M" in capsys.readouterr().err
    words = (
        "evaluate adam_token_half_life --set alpha=0.1 --set h=1e5 --set eps=0.01 --set R=2 --set L=1 "
        "--set d=64 --set Delta=90 --schedule 4 --tokens {} --json -"
    )
    assert run(words.format("1k")) == 0 and json.loads(capsys.readouterr().out)["tokens"] == 1000
