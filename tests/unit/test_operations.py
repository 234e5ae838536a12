"""What follows operations one by one."""

from __future__ import annotations

import subprocess
import sys
import textwrap

NET = textwrap.dedent(
    """
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu, self.dense = torch.nn.Conv1d(4, 6, 7), torch.nn.ReLU(), torch.nn.Linear(6, 2)

        def forward(self, X):
            return self.dense(self.relu(self.conv(X)).mean(-1))
    """
)
JOBS = textwrap.dedent(
    """
    import sys
    from marginome import deep_lift_shap, predict, random_one_hot
    from marginome.footprint import sequences_at_once
    from marginome.models import load_model

    outputs = {"counts": {"names": ["a", "b"]}}
    module = load_model("m", {"loader": sys.argv[1] + ":Net", "input_length": 60, "outputs": outputs}).module
    X = random_one_hot((2, 4, 60), random_state=0)
    sequences_at_once(lambda X, args: predict(module, X), X, (), memory_bytes=1, most=2)
    deep_lift_shap(module, X)
    assert "torch._dynamo" not in sys.modules, "PyTorch's compiler was imported"
    """
)


def test_predictions_and_attributions_do_not_import_pytorchs_compiler(tmp_path):
    """It took 2 s of each job of theirs. Engines import it all the same: they have PyTorch export the model."""
    (tmp_path / "net.py").write_text(NET)
    done = subprocess.run([sys.executable, "-c", JOBS, tmp_path / "net.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
