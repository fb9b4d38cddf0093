"""Score a frozen encoder by linear evaluation, as the papers do it.

python tools/linear_eval.py ENCODER --protocol mocov3 --data DIR [--out linear.json]

The protocols of MoCo v3, DINO and MoBY pass augmented images through the encoder for 90 or 100 epochs;
tools/linear_probe.py passes each image once, for quick work. With --out, a stopped run goes on after its last whole
epoch.
"""


def main() -> None:
    from repre_mm.cli.evaluation import evaluation_parser, run_evaluation
    from repre_mm.evaluation import PROTOCOLS, linear_eval

    parser = evaluation_parser('Score a frozen encoder by linear evaluation, as the papers do it.')
    parser.add_argument('--protocol', choices=tuple(PROTOCOLS), default='mocov3', help='default: %(default)s')
    parser.add_argument('--epochs', type=int, help="instead of the protocol's 90 or 100")
    parser.add_argument('--lrs', type=float, nargs='+', help="to sweep, instead of the protocol's")
    parser.set_defaults(batch_size=None)
    args = parser.parse_intermixed_args()
    options = {name: value for name in ('epochs', 'lrs') if (value := getattr(args, name)) is not None}

    def evaluate(encoder, data_root, **common):
        return linear_eval(encoder, data_root, protocol=args.protocol, **options, **common)

    result = run_evaluation(args, evaluate, **PROTOCOLS[args.protocol].backbone_options)['linear']
    print(f'\nlinear evaluation, accuracy in percent ({result["protocol"]}, {result["settings"]["epochs"]} epochs)')
    for name in ('top1', 'top5'):
        if result[name] is not None:
            print(f'{name:>8} {result[name]:7.2f}')
    best = result['best_epoch']
    print(f'{"best":>8} {best["top1"]:7.2f} after epoch {best["epoch"]}, lr {best["lr"]:g}, as the authors report')
    print(f'learning rate: {result["selection"]}')
    for lr, score in result['per_lr'].items():
        print(f'{f"lr {lr:g}":>8} {score:7.2f}{"  <- chosen" if lr == result["best_lr"] else ""}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
