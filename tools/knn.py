"""Score a frozen encoder by weighted k-nearest-neighbour classification.

python tools/knn.py ENCODER --data DIR [--k 10 20] [--out knn.json]
"""


def main() -> None:
    from functools import partial

    from repre_mm.cli.evaluation import evaluation_parser, run_evaluation
    from repre_mm.evaluation import evaluate_encoder

    parser = evaluation_parser('Score a frozen encoder by weighted k-nearest-neighbour classification.')
    parser.add_argument('--k', type=int, nargs='+', help='numbers of neighbours (default: 10, 20, 100 and 200)')
    args = parser.parse_intermixed_args()
    options = {'k': args.k} if args.k else {}
    result = run_evaluation(args, partial(evaluate_encoder, protocols=['knn'], knn_options=options))['knn']
    print(f'\nkNN top-1 in percent ({result["protocol"]}, temperature {result["temperature"]:g})')
    for k, top1 in result['top1'].items():
        print(f'{f"k={k}":>8} {top1:7.2f}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
