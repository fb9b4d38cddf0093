"""Score a frozen encoder by a linear classifier on cached features.

python tools/linear_probe.py ENCODER --data DIR [--out linear.json]
"""


def main() -> None:
    from functools import partial

    from repre_mm.cli.evaluation import evaluation_parser, run_evaluation
    from repre_mm.evaluation import evaluate_encoder
    from repre_mm.evaluation.linear_probe import LEARNING_RATES

    parser = evaluation_parser('Score a frozen encoder by a linear classifier on cached features.')
    parser.add_argument('--epochs', type=int, default=100, help='over the cached features (default: %(default)s)')
    parser.add_argument('--lrs', type=float, nargs='+', default=LEARNING_RATES, help='to sweep (default: %(default)s)')
    args = parser.parse_intermixed_args()
    options = {'epochs': args.epochs, 'lrs': args.lrs}
    result = run_evaluation(args, partial(evaluate_encoder, protocols=['linear'], linear_options=options))['linear']
    print(f'\nlinear probe, accuracy in percent ({result["protocol"]})')
    for name in ('top1', 'top5'):
        if result[name] is not None:
            print(f'{name:>8} {result[name]:7.2f}')
    for lr, score in result['per_lr'].items():
        chosen = '  <- chosen' if lr == result['best_lr'] else ''
        print(f'{f"lr {lr:g}":>8} {score:7.2f} on held-out training images{chosen}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
