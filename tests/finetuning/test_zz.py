import sys
sys.path.insert(0,'.')
from tests.finetuning.test_run import *
from tests.finetuning.conftest import *
def test_lora_run():
    run, heard = tuned("runs/lora", method="lora", lora_rank=4)
    print(run.path, run.val_loss)
    import subprocess
    print(sorted(p.name for p in Path("runs/lora/checkpoints/step_6").iterdir()))
    st=json.loads(Path("runs/lora/checkpoints/step_6/state.json").read_text()); print(st["adapter"])
    print(pylm.generate("runs/lora", "say red blue ->", max_tokens=5).text())
    print(pylm.evaluate("runs/lora", data="s.txt"))
    print(pylm.evaluate("runs/base", data="s.txt"))
