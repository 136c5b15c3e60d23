"""A folder that the tests of tables and of files begin with."""

import numpy as np
import pytest

from tests.datasets.folders import RED, halves, save, write


@pytest.fixture
def root(tmp_path):
    """Two images, the second with a mask, in the layout that needs no options."""
    save(tmp_path / "a.png", np.tile(RED, (6, 8, 1)))
    save(tmp_path / "sub" / "b.png", halves(0, 255))
    save(tmp_path / "masks" / "b.png", halves(0, 1))
    write(
        tmp_path,
        "path,label,group,split,mask_path",
        "a.png,cat,cat/tag,train,",
        "./sub/b.png,dog,dog/none,test,masks/b.png",
    )
    return tmp_path
