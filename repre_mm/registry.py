"""The package's registries: children of mmengine's roots, under the scope ``repre_mm``.

Hanging them under mmengine (not under mmpretrain) is what lets ``type='repre_mm.X'`` resolve from mmpretrain,
mmdet and mmseg configs alike, without ``custom_imports``: a scope prefix is looked up from the common root, and
the ``locations`` are imported on the first look-up.
"""

from repre_mm.utils.stack import check_stack

check_stack()  # before the first import of mmengine: two families in one environment fail in obscure ways

import mmengine.registry as root  # noqa: E402
from mmengine.registry import Registry  # noqa: E402

_SCOPE = 'repre_mm'


class _ChildRegistry(Registry):
    def get(self, key: str) -> type | None:
        """Look a name up here, and then in mmpretrain.

        mmengine resolves what a user's config inherits from ``repre_mm::...`` in the scope ``repre_mm``, and these
        configs name mmpretrain's classes without a prefix.
        """
        found = super().get(key)
        return self.parent.get(f'mmpretrain.{key}') if found is None and '.' not in key else found


def _child(parent: Registry, *locations: str) -> Registry:
    return _ChildRegistry(parent.name, scope=_SCOPE, parent=parent, locations=list(locations))


MODELS = _child(root.MODELS, 'repre_mm.models')
DATASETS = _child(root.DATASETS, 'repre_mm.datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'repre_mm.datasets')
HOOKS = _child(root.HOOKS, 'repre_mm.engine')
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS, 'repre_mm.distributed')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'repre_mm.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'repre_mm.engine')
VISBACKENDS = _child(root.VISBACKENDS, 'repre_mm.engine')

__all__ = [
    'DATASETS',
    'HOOKS',
    'MODELS',
    'MODEL_WRAPPERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'TRANSFORMS',
    'VISBACKENDS',
]
