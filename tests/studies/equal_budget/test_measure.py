from gptjax.models.costs import parameter_count
from gptjax.studies.equal_budget import measure as module
from gptjax.studies.equal_budget.measure import Measurement, measure_all
from gptjax.studies.equal_budget.plan import trial_config
from gptjax.studies.equal_budget.variants import parse_variants


def test_a_step_is_measured_once_and_what_was_measured_is_kept(make_config, tmp_path, monkeypatch):
    kept = tmp_path / "measured.json"
    variants = parse_variants(make_config(), "dense;banded(window=2)")
    configs = {each.key: trial_config(make_config(), each, 8, 0) for each in variants}
    first = measure_all({"dense": configs["dense"]}, kept)["dense"]
    assert 0 < first.seconds_per_token < 1
    # Parameters and AdamW's two moments go in and come out in place, with gradients as large as
    # the parameters; beside them a few arrays of the size of the logits, [4, 16, 1024].
    parameters, logits = 4 * parameter_count(configs["dense"].model), 4 * 4 * 16 * 1024
    assert 3 * parameters + logits < first.memory_bytes < 4 * parameters + 4 * logits

    measured = []

    def stub(config):
        measured.append(config.model.attention)
        return Measurement(1.0, 2)

    monkeypatch.setattr(module, "measure", stub)
    for _ in range(2):
        both = measure_all(configs, kept)
        assert both == {"dense": first, "banded(window=2)": Measurement(1.0, 2)}
    assert measured == ["banded(window=2)"]
