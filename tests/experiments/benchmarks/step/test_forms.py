import jax
import numpy as np
import pytest

from experiments.benchmarks.step.forms import FORMS


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_the_product(name):
    form, left, right = FORMS[name]
    random = np.random.default_rng(0)
    x, w = random.standard_normal((6, 4), np.float32), random.standard_normal((4, 8), np.float32)
    y = np.asarray(jax.jit(form)(x.T if left else x, w.T if right else w))
    np.testing.assert_allclose(y.reshape(6, 8), x @ w, rtol=1e-5, atol=1e-5)
